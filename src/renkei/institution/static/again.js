// Looks again in a moment, which without script the page's own refresh does.
setTimeout(() => location.reload(), 2000);
