// Makes static/own.js of own.mjs and the libraries it names, with the hash of its source in the first line.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { build } from "esbuild";

const source = createHash("sha256").update(readFileSync("own.mjs")).digest("hex");
const libraries = "@hpke/core, @hpke/chacha20poly1305 (MIT, (c) Ajitomi Daisuke) and @msgpack/msgpack (ISC, (c) The MessagePack Community)";
await build({
  entryPoints: ["own.mjs"], bundle: true, minify: true, format: "esm", target: "es2022", charset: "utf8", legalComments: "none",
  outfile: "../../institution/static/own.js", banner: { js: `// own.mjs ${source} with ${libraries}` },
});
