// Passkeys (WebAuthn): makes one for the account page's form, or signs in with one for the sign-in page's.
const form = document.getElementById("make") ?? document.getElementById("passkey");
const options = JSON.parse(form.dataset.options), making = form.id === "make";

if (window.PublicKeyCredential?.parseCreationOptionsFromJSON) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const credential = making
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
      form.elements.credential.value = JSON.stringify(credential.toJSON());
    } catch {
      form.elements.credential.value = "{}"; // given up, or nothing that fits: the page says what to do
    }
    form.submit();
  });
}
