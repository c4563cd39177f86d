// A file that a run writes line by line or part by part. Opened before the run, so that a bad path costs no run.

import { closeSync, openSync, writeSync } from "node:fs";
import { PagevisorError } from "../errors.js";

const BUFFER_CHARS = 64 * 1024;

export class OutFile {
  #descriptor: number;
  #parts: string[] = [];
  #chars = 0;

  /** Creates or empties the file. Throws `E_FILE`. */
  constructor(readonly path: string) {
    this.#descriptor = attempt(path, () => openSync(path, "w"));
  }

  /** Adds `text`; it may stay in memory until {@link close}. Throws `E_FILE`. */
  write(text: string): void {
    this.#parts.push(text);
    this.#chars += text.length;
    if (this.#chars >= BUFFER_CHARS) this.#flush();
  }

  /** Writes what is left and closes the file, also when writing fails. Throws `E_FILE`. */
  close(): void {
    try {
      this.#flush();
    } finally {
      closeSync(this.#descriptor);
    }
  }

  #flush(): void {
    const bytes = Buffer.from(this.#parts.join(""));
    this.#parts = [];
    this.#chars = 0;
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
