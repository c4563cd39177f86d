// Makes the files of dist/ that hold everything they need, without imports: dist/inline.js (the library with its core inside) and
// dist/workerthread.js (what the thread of pagevisor/worker runs); and dist/report/assets.js, what reports carry with them. The command may be run as one. node scripts/bundle.mjs, after tsc.

import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const license = readFileSync(at("LICENSE"), "utf8").trim();

const UPLOT_LICENSE = `/*! uPlot\n${readFileSync(at("node_modules/uplot/LICENSE"), "utf8").trim()}\n*/`;

/** Puts the core itself, as base64, where dist/corebytes.js reads it from a file. */
const coreInside = {
  name: "core inside",
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]dist[\\/]corebytes\.js$/ }, () => ({
      contents: `
        const base64 = ${JSON.stringify(readFileSync(at("build/core.wasm"), "base64"))};
        export async function readCore() {
          return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        }`,
    }));
  },
};

/** Puts nothing there: a thread is sent its core. */
const coreSent = {
  name: "core sent",
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]dist[\\/]corebytes\.js$/ }, () => ({
      contents: `export function readCore() { throw new Error("a thread is sent its core"); }`,
    }));
  },
};

async function bundle(entry, outfile, plugin) {
  await build({
    entryPoints: [at(entry)],
    outfile: at(outfile),
    allowOverwrite: true,
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: "neutral",
    minify: true,
    legalComments: "inline",
    banner: { js: `/*!\n${license}\n*/` },
    mainFields: ["module", "main"],
    conditions: ["import"],
    plugins: [plugin],
    logLevel: "warning",
  });
  rmSync(`${at(outfile)}.map`, { force: true }); // that of the file which the bundle has taken the place of
}

/** The script of a report with uPlot in it, and its styles, as texts in dist/report/assets.js. */
async function reportAssets() {
  const { outputFiles } = await build({
    entryPoints: [at("dist/report/page/main.js")],
    bundle: true,
    format: "iife",
    target: "es2022",
    platform: "browser",
    minify: true,
    legalComments: "inline",
    banner: { js: UPLOT_LICENSE },
    write: false,
    logLevel: "warning",
  });
  const style =
    readFileSync(at("node_modules/uplot/dist/uPlot.min.css"), "utf8") +
    readFileSync(at("bindings/report/page/page.css"), "utf8");
  writeFileSync(
    at("dist/report/assets.js"),
    `export const SCRIPT = ${JSON.stringify(outputFiles[0].text)};\nexport const STYLE = ${JSON.stringify(style)};\n`,
  );
  rmSync(at("dist/report/assets.js.map"), { force: true });
}

await reportAssets();
await bundle("dist/index.js", "dist/inline.js", coreInside);
await bundle("dist/workerthread.js", "dist/workerthread.js", coreSent);
chmodSync(at("dist/cli.js"), 0o755);
