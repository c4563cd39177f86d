// A build of the core that lacks a part, to run beside the whole one: what it costs to have the part is the time between the two.

import { execSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** What scripts/without.mjs can leave out. */
export type Part = "explorer" | "records" | "tracepoints" | "integrity";

/** Compiles the core without `part`, as `npm run build:core` compiles it with all of them. */
export function coreWithout(part: Part): WebAssembly.Module {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  const file = `build/without-${part}`;
  const path = [join(ROOT, "node_modules/.bin"), process.env["PATH"]].join(delimiter);
  const options = {
    cwd: ROOT,
    env: { ...process.env, PATH: path, WITHOUT: part },
    stdio: "pipe",
  } as const;
  const transforms = "--transform ./scripts/drop-asserts.mjs --transform ./scripts/without.mjs";
  const out = `--outFile ${file}.wasm --textFile ${file}.wat`;
  execSync(`asc --target release ${transforms} ${out}`, options);
  execSync(scripts["inline:core"]!.replaceAll("build/core.wasm", `${file}.wasm`), options);
  return new WebAssembly.Module(readFileSync(join(ROOT, `${file}.wasm`)));
}
