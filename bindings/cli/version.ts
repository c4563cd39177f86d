// The version of this package, read from its package.json.

import { readFileSync } from "node:fs";

interface Manifest {
  version: string;
}

/** For instance `0.1.0`. */
export function packageVersion(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as Manifest).version;
}
