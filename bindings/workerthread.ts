// What the thread of `pagevisor/worker` runs: one scenario, told when to stop. The build makes one file without imports of it
// (scripts/bundle.mjs), because a worker of a page has no import map.

import { PagevisorError } from "./errors.js";
import { inNode } from "./files.js";
import { Machine, type Progress } from "./machine.js";
import type { FromThread, ToThread } from "./worker.js";

interface Port {
  postMessage(message: FromThread): void;
  onmessage: ((event: { data: ToThread }) => void) | null;
}

const port = (inNode()
  ? process.getBuiltinModule("node:worker_threads").parentPort
  : globalThis) as unknown as Port;
const interrupt = new AbortController();

port.onmessage = ({ data }) => {
  if ("stop" in data) interrupt.abort();
  else void answer(data);
};

async function answer(data: Exclude<ToThread, { stop: true }>): Promise<void> {
  try {
    const machine = await Machine.create(data.run, { files: data.files, module: data.module });
    const options = {
      signal: interrupt.signal,
      onProgress: (progress: Progress) => port.postMessage({ progress }),
    };
    await machine.warmUp(options);
    await machine.runAsync(data.limit, options);
    port.postMessage({ result: machine.result() });
  } catch (error) {
    const code = error instanceof PagevisorError ? error.code : "E_INTERNAL";
    port.postMessage({ error: { code, message: error instanceof Error ? error.message : String(error) } });
  }
}
