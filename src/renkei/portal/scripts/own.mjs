// What is held about the resident, in this browser alone. Each answer is sealed (HPKE, RFC 9180) to a key made here, which cannot be read
// out and is thrown away with the answer; the portal carries what it cannot read. Made into static/own.js by `make scripts`.
import { CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { Chacha20Poly1305 } from "@hpke/chacha20poly1305";
import { decode } from "@msgpack/msgpack";

const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Chacha20Poly1305() });
const text = new TextEncoder();
const base64 = (data) => btoa(String.fromCharCode(...new Uint8Array(data)));
const bytes = (said) => Uint8Array.from(atob(said), (c) => c.charCodeAt(0));
const fromHex = (said) => Uint8Array.from(said.match(/../g), (two) => parseInt(two, 16));

// ------------------------------------------------------------------ keys, which must outlive the way to the reader program and back

const opened = () =>
  new Promise((resolve, reject) => {
    const asked = indexedDB.open("renkei-own", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore("keys");
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
async function kept(mode, work) {
  const database = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction("keys", mode);
      const asked = work(transaction.objectStore("keys"));
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

// ------------------------------------------------------------------ asking

async function begin(form, to) {
  const items = [...form.querySelectorAll("input[name=item]:checked")].map((box) => box.value);
  const pairs = await Promise.all(items.map(() => crypto.subtle.generateKey("X25519", false, ["deriveBits"])));
  const body = new URLSearchParams({ _csrf_token: form.elements._csrf_token.value, body: form.elements.body.value });
  if (form.elements.for) body.append("for", form.elements.for.value);
  for (const [at, item] of items.entries())
    body.append(`key-${item}`, base64(await crypto.subtle.exportKey("raw", pairs[at].publicKey)));
  const answer = await fetch("/own/begin", { method: "POST", body, headers: { Accept: "application/json" } });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail);
  await kept("readwrite", (store) => {
    let last = store.clear(); // of what was never fetched
    for (const [at, item] of items.entries()) last = store.put(pairs[at], `${said.wish}/${item}`);
    return last;
  });
  to.elements.document.value = said.document;
  to.submit();
}

// ------------------------------------------------------------------ opening

// The transcript of the protocol: each field behind its length, 8 bytes.
function transcript(...fields) {
  const parts = fields.flatMap((field) => {
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(field.length));
    return [...length, ...field];
  });
  return new Uint8Array(parts);
}

async function open(sealed, pair, id) {
  const info = transcript(text.encode("renkei/v1/answer"), fromHex(id));
  const recipient = await suite.createRecipientContext({ recipientKey: pair, enc: sealed.slice(0, 32), info });
  const padded = new Uint8Array(await recipient.open(sealed.slice(32)));
  return decode(padded.slice(4, 4 + new DataView(padded.buffer).getUint32(0)));
}

function table(record, words) {
  const list = document.createElement("dl");
  list.className = "facts";
  for (const [name, value] of Object.entries(record)) {
    const field = words.fields[name] ?? { title: name }, title = document.createElement("dt"), said = document.createElement("dd");
    title.textContent = field.title;
    const codes = field.codes ?? {};
    said.textContent =
      typeof value === "boolean" ? words.truth[Number(value)]
      : typeof value === "number" ? `${field.year ? value : value.toLocaleString()}${field.unit ?? ""}`
      : field.image ? "" : Object.hasOwn(codes, value) ? codes[value] : value;
    if (field.image) {
      const image = document.createElement("img");
      image.src = `data:image/png;base64,${value}`;
      image.alt = field.title;
      said.append(image);
    }
    list.append(title, said);
  }
  return list;
}

// For an application of the resident's: what all records say alike answers its questions, if the resident then says so.
function offer(content) {
  const page = document.getElementById("answers"), form = document.getElementById("fill");
  if (!form) return;
  const list = form.querySelector("dl"), words = JSON.parse(page.dataset.words).items[content.item];
  for (const [field, asked] of Object.entries(JSON.parse(page.dataset.fills)[content.item] ?? {})) {
    const values = new Set(content.records.map((record) => record[field]).filter((value) => value !== undefined));
    if (values.size !== 1) continue;
    const [value] = values;
    for (const [name, title] of asked) {
      if (form.elements.namedItem(name)) continue;
      const input = document.createElement("input");
      Object.assign(input, { type: "hidden", name, value });
      const [, said] = table({ [field]: value }, words).children, head = document.createElement("dt");
      head.textContent = title;
      list.append(head, said);
      form.append(input);
    }
  }
  form.hidden = !list.children.length;
}

async function show(section, answer, words) {
  const place = section.querySelector(".answer"), name = `${location.pathname.split("/").pop()}/${answer.item}`;
  const pair = await kept("readonly", (store) => store.get(name));
  if (answer.state !== "answered") place.textContent = answer.said;
  else if (!pair) place.textContent = words.gone;
  else {
    const content = await open(bytes(answer.sealed), pair, answer.id);
    if (content.item !== section.dataset.item) throw new Error("item");
    place.replaceChildren(...content.records.map((record) => table(record, words.items[content.item])));
    offer(content);
    if (!content.records.length) place.textContent = words.nothing;
    await kept("readwrite", (store) => store.delete(name));
  }
  section.dataset.done = "yes";
}

async function follow(page) {
  const words = JSON.parse(page.dataset.words);
  for (;;) {
    const answer = await fetch(`${location.pathname}/answers`, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(answer.status);
    const { answers } = await answer.json();
    for (const one of answers) {
      const section = document.getElementById(`i${one.id}`);
      if (one.state !== "waiting" && !section.dataset.done)
        await show(section, one, words).catch(() => (section.querySelector(".answer").textContent = words.broken, section.dataset.done = "yes"));
    }
    if (answers.every((one) => one.state !== "waiting")) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

const form = document.getElementById("ask"), page = document.getElementById("answers");
const fail = (error) => {
  const notice = document.getElementById("problem");
  notice.textContent = error.message || notice.dataset.said;
  notice.hidden = false;
};
if (form) {
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    begin(form, document.getElementById("card")).catch(fail);
  });
}
if (page) follow(page).catch(fail);
