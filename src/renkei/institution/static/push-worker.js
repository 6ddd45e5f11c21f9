// Shows that something is new. The message itself is empty: what is shown stands here, and says nothing of whom or what.
const ja = new URL(location.href).searchParams.get("lang") === "ja";

self.addEventListener("push", (event) => {
  const body = ja ? "新しいお知らせがあります。サインインしてご確認ください。" : "Something new. Sign in to read.";
  event.waitUntil(self.registration.showNotification(ja ? "マイ・ポータル" : "My Portal", { body, tag: "inbox", icon: "/static/mark.svg" }));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(self.clients.openWindow("/inbox"));
});
