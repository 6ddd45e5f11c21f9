// Verifies the signed text after the address's "#" with this site's key, in this browser: a JWS (RFC 7515), ES256 over deflated JSON.
const verdict = document.getElementById("verdict"), said = JSON.parse(verdict.dataset.said);

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const json = (data) => JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));

async function inflated(data) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const parts = [];
  let size = 0;
  for await (const part of stream) {
    size += part.length;
    if (size > 100_000) throw new Error("too long");
    parts.push(part);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function claims(text) {
  const [header, payload, signature] = text.split(".");
  const { alg, zip, kid, typ } = json(bytes(header));
  const { keys } = await (await fetch("/verify/keys")).json();
  const jwk = keys.find((k) => k.kid === kid);
  if (!jwk || alg !== "ES256" || zip !== "DEF" || typ !== "renkei-paper") return null;
  const curve = { name: "ECDSA", namedCurve: "P-256" };
  const key = await crypto.subtle.importKey("jwk", { kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y }, curve, false, ["verify"]);
  const signed = new TextEncoder().encode(`${header}.${payload}`);
  const good = await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, bytes(signature), signed);
  return good ? json(await inflated(bytes(payload))) : null;
}

function row(table, name, value) {
  const line = table.insertRow(), head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  line.append(head);
  line.insertCell().textContent = value;
}

function show(found) {
  const content = document.getElementById("content"), title = document.createElement("h2");
  title.textContent = found.doc[document.documentElement.lang === "ja" ? 0 : 1];
  content.append(title);
  for (const values of [...found.v, [[said.by, found.by.join(" · ")], [said.issued, found.on], [said.number, found.no]]]) {
    const table = document.createElement("table");
    for (const [name, value] of values) row(table, name, value);
    content.append(table);
  }
}

async function verify() {
  document.getElementById("content").replaceChildren();
  verdict.classList.remove("bad");
  const text = location.hash.slice(1);
  if (!text) return void (verdict.textContent = said.nothing);
  if (!globalThis.crypto?.subtle || !globalThis.DecompressionStream) return void (verdict.textContent = said.old);
  let genuine = false;
  try {
    const found = await claims(text);
    if (found) show(found);
    genuine = Boolean(found);
  } catch {
    document.getElementById("content").replaceChildren();
  }
  verdict.textContent = genuine ? said.genuine : said.false; // last: nothing is called genuine that is not shown
  verdict.classList.toggle("bad", !genuine);
}

addEventListener("hashchange", verify);
verify();
