// Validated as they type: what the browser finds wrong with a field is said below it as soon as it is left, and gone when it is mended.
for (const form of document.querySelectorAll("form[data-check]")) {
  const say = (field) => {
    const id = `says-${field.id}`;
    let said = document.getElementById(id);
    if (field.validity.valid) {
      said?.remove();
      field.removeAttribute("aria-invalid");
      return;
    }
    if (!said) {
      said = Object.assign(document.createElement("p"), { id, className: "notice bad" });
      said.setAttribute("role", "alert");
      field.before(said);
    }
    said.textContent = field.validationMessage;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", id);
  };
  form.addEventListener("focusout", ({ target }) => target.validity && target.value !== "" && say(target));
  form.addEventListener("input", ({ target }) => target.getAttribute("aria-invalid") && say(target));
}
