// Verifies, in this browser and with nothing of the server's but public keys, that a record is in the log that both keepers signed:
// a c2sp.org/tlog-proof@v1 file; RFC 6962 hashing; Ed25519 signatures of a C2SP signed note and cosignature/v1.
const verdict = document.getElementById("proof"), { said, keys, entry } = verdict.dataset;
const words = JSON.parse(said), text = new TextEncoder();

const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const join = (...parts) => new Uint8Array(parts.flatMap((p) => [...p]));
const sha256 = async (data) => new Uint8Array(await crypto.subtle.digest("SHA-256", data));
const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);
const hex = (data) => [...data].map((b) => b.toString(16).padStart(2, "0")).join("");
const node = (left, right) => sha256(join([1], left, right));
function demand(holds, what) {
  if (!holds) throw new Error(what);
}

// RFC 6962 §2.1.1: the root that this leaf, at this index of a tree of this size, leads to.
async function rootOf(leaf, index, size, path) {
  let at = index, last = size - 1, found = leaf;
  for (const other of path) {
    demand(last > 0, "path");
    if (at % 2 === 1 || at === last) {
      found = await node(other, found);
      while (at % 2 === 0 && at !== 0) [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
    } else found = await node(found, other);
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  demand(last === 0, "path");
  return found;
}

// A key as name+id+base64 of its kind (1: note, 4: cosignature) and 32 bytes; the id is checked against them.
async function keyOf(line) {
  const [name, id, ...rest] = line.split("+"), data = bytes(rest.join("+"));
  demand(data.length === 33 && (data[0] === 1 || data[0] === 4), "key");
  const known = (await sha256(join(text.encode(`${name}\n`), data))).slice(0, 4);
  demand(hex(known) === id, "key");
  return { name, id: known, cosigns: data[0] === 4, key: await crypto.subtle.importKey("raw", data.slice(1), "Ed25519", false, ["verify"]) };
}

async function signedBy(signer, body, lines) {
  for (const line of lines) {
    const [dash, name, data] = line.split(" "), raw = data ? bytes(data) : new Uint8Array();
    if (dash !== "—" || name !== signer.name || !same(raw.slice(0, 4), signer.id)) continue;
    const time = new DataView(raw.buffer).getBigUint64(4);
    const signed = signer.cosigns ? `cosignature/v1\ntime ${time}\n${body}` : body;
    return crypto.subtle.verify("Ed25519", signer.key, raw.slice(signer.cosigns ? 12 : 4), text.encode(signed));
  }
  return false;
}

async function verify() {
  const answer = await fetch(`/records/${entry}/proof`);
  demand(answer.ok, "file");
  const file = await answer.text();
  const cut = file.indexOf("\n\n"), head = file.slice(0, cut).split("\n"), note = file.slice(cut + 2);
  demand(head.shift() === "c2sp.org/tlog-proof@v1", "file");
  let leaf = bytes(answer.headers.get("Renkei-Leaf"));
  if (head[0].startsWith("extra ")) {
    const extra = bytes(head.shift().slice(6)), salt = extra.slice(0, 16), said = extra.slice(16);
    const commitment = await sha256(join(text.encode("renkei/v1/leaf"), salt, said));
    demand(same(await sha256(join([0], commitment)), leaf), "leaf");
  }
  const index = Number(head.shift().slice(6));
  demand(index === Number(entry), "index");
  const end = note.lastIndexOf("\n\n"), body = `${note.slice(0, end)}\n`, lines = note.slice(end + 2).trim().split("\n");
  const [origin, size, root] = body.split("\n");
  demand(index < Number(size), "index");
  for (const line of keys.trim().split("\n")) {
    const signer = await keyOf(line);
    demand(signer.cosigns || signer.name === origin, "origin");
    demand(await signedBy(signer, body, lines), "signature");
  }
  demand(same(await rootOf(leaf, index, Number(size), head.map(bytes)), bytes(root)), "root");
  return { size, root: hex(bytes(root)), leaf: hex(leaf) };
}

const button = document.getElementById("check");
button.hidden = false;
button.addEventListener("click", async () => {
  button.disabled = true;
  try {
    const found = await verify();
    verdict.className = "notice";
    verdict.textContent = words.good.replace("{}", Number(found.size).toLocaleString(document.documentElement.lang));
    for (const [name, value] of [[words.leaf, found.leaf], [words.root, found.root]]) {
      const line = document.createElement("p");
      line.className = "hash";
      line.textContent = `${name}: ${value}`;
      verdict.append(line);
    }
  } catch (error) {
    verdict.className = "notice bad";
    verdict.textContent = error.name === "NotSupportedError" ? words.old : `${words.bad} (${error.message})`;
  }
  verdict.hidden = false;
  button.disabled = false;
});
