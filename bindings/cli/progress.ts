// The progress bar on standard error: how far, how fast, how long it will still take. Wall time stays in here.

import { SingleBar } from "cli-progress";
import type { Progress } from "../machine.js";

const STEPS = 1000;
const BAR_CHARS = 30;

/** Told how a run goes on; {@link silent} when nobody watches. */
export interface ProgressReport {
  /** A part of the work begins: rate and time left count from here. */
  begin(label: string): void;
  update(progress: Progress): void;
  /** Clears the bar; a later `begin` draws a new one. */
  end(): void;
}

export const silent: ProgressReport = { begin() {}, update() {}, end() {} };

/** A bar on `stream`, or {@link silent} for null. */
export function progressOn(stream: NodeJS.WriteStream | null): ProgressReport {
  return stream === null ? silent : new TerminalProgress(stream);
}

class TerminalProgress implements ProgressReport {
  #bar: SingleBar;
  #running = false;
  #label = "";
  #startMs = 0;
  #last: Progress = { accesses: 0, virtualTimeNs: 0, share: null };

  constructor(stream: NodeJS.WriteStream) {
    this.#bar = new SingleBar({
      format: () => progressText(this.#label, this.#last, performance.now() - this.#startMs),
      stream,
      clearOnComplete: true,
      gracefulExit: false, // Ctrl-C is the commands' business
      hideCursor: null, // a second Ctrl-C ends the process at once: nothing of the terminal may need restoring
      linewrap: null,
    });
  }

  begin(label: string): void {
    this.end();
    this.#label = label;
    this.#startMs = performance.now();
    this.#last = { accesses: 0, virtualTimeNs: 0, share: null };
    this.#bar.start(STEPS, 0);
    this.#running = true;
  }

  update(progress: Progress): void {
    this.#last = progress;
    if (this.#running) this.#bar.update(Math.floor((progress.share ?? 0) * STEPS));
  }

  end(): void {
    if (this.#running) this.#bar.stop();
    this.#running = false;
  }
}

/**
 * One line: `run [=====     ] 50%  10.4M accesses/s  3s left`. Without a known share: accesses instead of the bar.
 *
 * @param elapsedMs wall time since the part began
 */
export function progressText(label: string, { accesses, share }: Progress, elapsedMs: number): string {
  const millions = elapsedMs > 0 ? accesses / elapsedMs / 1e3 : 0;
  const speed = `${millions.toFixed(1)}M accesses/s`;
  if (share === null) return `${label}  ${(accesses / 1e6).toFixed(1)}M accesses  ${speed}`;

  const done = Math.min(1, Math.max(0, share));
  const filled = Math.round(done * BAR_CHARS);
  const bar = "=".repeat(filled) + " ".repeat(BAR_CHARS - filled);
  const left = done > 0 ? `${Math.ceil((elapsedMs * (1 - done)) / done / 1e3)}s left` : "";
  return `${label} [${bar}] ${Math.floor(done * 100)}%  ${speed}  ${left}`.trimEnd();
}
