// Notifications on this device: asks the browser, and gives the address of its push service to the page's form.
const form = document.getElementById("push-form");

if ("serviceWorker" in navigator && "PushManager" in window && "Notification" in window) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      if ((await Notification.requestPermission()) !== "granted") throw new Error("refused");
      const registration = await navigator.serviceWorker.register(`/static/push-worker.js?lang=${document.documentElement.lang}`);
      await running(registration);
      await (await registration.pushManager.getSubscription())?.unsubscribe(); // one under an older key could not be renewed
      const options = { userVisibleOnly: true, applicationServerKey: form.dataset.key };
      form.elements.endpoint.value = (await registration.pushManager.subscribe(options)).endpoint;
    } catch {
      form.elements.endpoint.value = ""; // refused, or there is no such service: the page says what to do
    }
    form.submit();
  });
}

function running(registration) {
  const worker = registration.active ?? registration.waiting ?? registration.installing;
  if (worker.state === "activated") return Promise.resolve();
  return new Promise((done, failed) =>
    worker.addEventListener("statechange", () => {
      if (worker.state === "activated") done();
      if (worker.state === "redundant") failed(new Error("redundant"));
    })
  );
}
