// The bytes of the core that comes with the package. In `pagevisor/inline` the build puts a file with the bytes themselves in this one's
// place (scripts/bundle.mjs).

import { PagevisorError } from "./errors.js";

/** Reads build/core.wasm: from disk in Node, else over the network. @throws PagevisorError E_FILE */
export async function readCore(): Promise<BufferSource> {
  const url = new URL("../build/core.wasm", import.meta.url);
  // Asked at run time, so that a bundle for the browser contains no import of node's modules.
  const fs = globalThis.process?.getBuiltinModule?.("node:fs");
  if (fs !== undefined && url.protocol === "file:") return new Uint8Array(fs.readFileSync(url));
  const response = await fetch(url);
  if (!response.ok) throw new PagevisorError("E_FILE", `${url}: HTTP ${response.status}`);
  return response.arrayBuffer();
}
