// Makes gateway/ui/assets of src/: `node build.mjs` writes, `node build.mjs --check` says whether it would change anything.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = new URL(".", import.meta.url);
const assets = new URL("../gateway/ui/assets/", here);
const MOST_BYTES = 150 * 1000; // of all files, compressed

async function bundle(entry) {
  const { outputFiles } = await build({
    absWorkingDir: new URL(".", here).pathname,
    entryPoints: [entry],
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    charset: "utf8",
    legalComments: "none",
    write: false,
  });
  return outputFiles[0].contents;
}

const named = (stem, end, data) => `${stem}-${createHash("sha256").update(data).digest("hex").slice(0, 8)}.${end}`;
const license = (name) =>
  readFileSync(new URL(`node_modules/${name}/LICENSE`, here), "utf8").trim().replaceAll("\r\n", "\n");
const version = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, here), "utf8")).version;

const script = await bundle("src/main.js");
const style = await bundle("src/style.css");
const files = new Map([
  [named("page", "js", script), script],
  [named("page", "css", style), style],
  ["icon.svg", readFileSync(new URL("src/icon.svg", here))],
]);
const [js, css] = files.keys();
const html = readFileSync(new URL("src/index.html", here), "utf8").replace("page.js", js).replace("page.css", css);
files.set("index.html", Buffer.from(html));
const kept = ["preact", "htm", "uplot"].map((name) => `${name} ${version(name)}\n\n${license(name)}\n`);
files.set("licenses.txt", Buffer.from(kept.join("\n\n")));

const total = [...files.values()].reduce((sum, data) => sum + gzipSync(data).length, 0);
if (total > MOST_BYTES) {
  console.error(`the page has ${total} bytes compressed, more than ${MOST_BYTES}`);
  process.exit(1);
}
const standing = (name) => {
  try {
    return readFileSync(new URL(name, assets));
  } catch {
    return Buffer.alloc(0);
  }
};
if (process.argv.includes("--check")) {
  mkdirSync(assets, { recursive: true });
  const strange = readdirSync(assets).filter((name) => !files.has(name));
  const stale = [...files].filter(([name, data]) => !standing(name).equals(Buffer.from(data))).map(([name]) => name);
  if (strange.length || stale.length) {
    console.error(`gateway/ui/assets is not what ui/src makes (${[...stale, ...strange].join(", ")}); run \`make ui\``);
    process.exit(1);
  }
} else {
  rmSync(assets, { recursive: true, force: true });
  mkdirSync(assets, { recursive: true });
  for (const [name, data] of files) writeFileSync(new URL(name, assets), data);
}
console.log(`the page: ${total} bytes compressed`);
