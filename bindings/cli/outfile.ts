// A file that a run writes line by line or part by part. Opened before the run, so that a bad path costs no run.

import { closeSync, fstatSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { PagevisorError } from "../errors.js";

const BUFFER_BYTES = 64 * 1024;

export class OutFile {
  #descriptor: number;
  #parts: Uint8Array[] = [];
  #bytes = 0;

  /** Creates the file, or cuts it to its first `keptBytes` and goes on behind them. Throws `E_FILE`. */
  constructor(
    readonly path: string,
    keptBytes = 0,
  ) {
    this.#descriptor = attempt(path, () => openSync(path, "a"));
    // A device or a pipe has no length.
    attempt(path, () => fstatSync(this.#descriptor).isFile() && ftruncateSync(this.#descriptor, keptBytes));
  }

  /** Adds `text`; it may stay in memory until {@link flush} or {@link close}. Throws `E_FILE`. */
  write(text: string): void {
    this.writeBytes(Buffer.from(text));
  }

  /** Adds bytes, as {@link write} adds text. */
  writeBytes(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
    if (this.#bytes >= BUFFER_BYTES) this.flush();
  }

  /** Writes what is left and closes the file, also when writing fails. Throws `E_FILE`. */
  close(): void {
    try {
      this.flush();
    } finally {
      closeSync(this.#descriptor);
    }
  }

  /** Writes what is left. Throws `E_FILE`. */
  flush(): void {
    const bytes = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    attempt(this.path, () => {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#descriptor, bytes, done);
    });
  }
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new PagevisorError("E_FILE", `cannot write "${path}": ${(error as Error).message}`, {
      cause: error,
    });
  }
}
