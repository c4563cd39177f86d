// `pagevisor/worker`: a run in a thread of its own, so that a page stays alive and a server answers while it lasts. The thread gets a compiled
// core and bytes; nothing of the caller is shared with it.

import { coreModule } from "./core.js";
import { type ErrorCode, PagevisorError } from "./errors.js";
import { type FileSource, inNode, readInputs } from "./files.js";
import type { Limit } from "./limit.js";
import type { RunResult } from "./result.js";
import type { Progress } from "./running.js";
import { resolveScenario, type Scenario } from "./scenario.js";

export type { FileSource, Limit, Progress, RunResult, Scenario };

/** How {@link runInWorker} runs. */
export interface WorkerRunOptions {
  /** How far to run, after the scenario's warm-up; default: the scenario's duration. */
  limit?: Limit;
  /** Bytes of the files that `trace` workloads name, or a function that gets them. */
  files?: FileSource;
  /** In Node: the folder that relative file names start from. Default: the working directory. */
  baseDir?: string;
  /** A compiled core, as for `Machine.create`. */
  module?: WebAssembly.Module;
  /** Ends the run: it resolves with status `interrupted` and what there is. */
  signal?: AbortSignal;
  /** Told how far the run has come, some hundred times a second at most. */
  onProgress?: (progress: Progress) => void;
  /** Where the thread's script is, for bundlers that do not copy it: the address of `pagevisor/worker-thread`. */
  thread?: string | URL;
}

/** What the caller sends: first a run, later perhaps that it is to stop. */
export type ToThread =
  | { run: Scenario; limit: Limit | undefined; files: Record<string, Uint8Array>; module: WebAssembly.Module }
  | { stop: true };

/** What the thread sends: progress, then one of the others. */
export type FromThread =
  | { progress: Progress }
  | { result: RunResult }
  /** What became an error there. */
  | { error: { code: ErrorCode; message: string } };

interface Thread {
  send(message: ToThread): void;
  end(): void;
}

/**
 * Runs a scenario in a thread of its own: the warm-up, then up to the limit. Same result and digest as in this thread.
 *
 * @returns everything since the end of the warm-up, as `machine.result()` does
 * @throws PagevisorError what `Machine.create` and `runAsync` throw; E_FILE when the thread's script cannot be loaded
 */
export async function runInWorker(scenario: Scenario, options: WorkerRunOptions = {}): Promise<RunResult> {
  const { limit, signal, onProgress } = options;
  const files = await readInputs(resolveScenario(scenario), options.files, options.baseDir);
  const module = options.module ?? (await coreModule());
  let thread: Thread | undefined;
  const stop = (): void => thread?.send({ stop: true });
  try {
    return await new Promise<RunResult>((resolve, reject) => {
      const take = (message: FromThread): void => {
        if ("progress" in message) onProgress?.(message.progress);
        else if ("result" in message) resolve(message.result);
        else reject(new PagevisorError(message.error.code, message.error.message));
      };
      const fail = (why: string): void =>
        reject(new PagevisorError("E_FILE", `the thread of pagevisor/worker has failed: ${why}`));
      thread = inNode() ? nodeThread(options.thread, take, fail) : webThread(options.thread, take, fail);
      thread.send({ run: scenario, limit, files, module });
      if (signal?.aborted) stop();
      signal?.addEventListener("abort", stop);
    });
  } finally {
    signal?.removeEventListener("abort", stop);
    thread?.end();
  }
}

function webThread(
  script: string | URL | undefined,
  take: (message: FromThread) => void,
  fail: (why: string) => void,
): Thread {
  // Written out as bundlers look for it.
  const worker =
    script === undefined
      ? new Worker(new URL("./workerthread.js", import.meta.url), { type: "module" })
      : new Worker(script, { type: "module" });
  worker.onmessage = ({ data }) => take(data as FromThread);
  worker.onerror = ({ message }) => fail(message ?? "its script could not be loaded");
  return { send: (message) => worker.postMessage(message), end: () => worker.terminate() };
}

function nodeThread(
  script: string | URL | undefined,
  take: (message: FromThread) => void,
  fail: (why: string) => void,
): Thread {
  const threads = process.getBuiltinModule("node:worker_threads");
  const worker = new threads.Worker(new URL(script ?? "./workerthread.js", import.meta.url));
  worker.on("message", take);
  worker.on("error", (error) => fail(error instanceof Error ? error.message : String(error)));
  worker.on("exit", (code) => fail(`it ended with code ${code}`));
  return { send: (message) => worker.postMessage(message), end: () => void worker.terminate() };
}
