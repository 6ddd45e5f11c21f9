// Sends the page's form on, which without script its reader does with a button.
document.getElementById("continue").requestSubmit();
