// What the commands may know about the process they run in: two streams, colour or not, Ctrl-C. Tests pass their own.

import pc from "picocolors";

export type Colors = ReturnType<typeof pc.createColors>;

export interface Terminal {
  /** Writes text to standard output as it is. */
  out(text: string): void;
  /** Writes text to standard error as it is. */
  err(text: string): void;
  /** For standard output; plain when it is piped or under NO_COLOR. */
  colors: Colors;
  /** Where a progress bar may be drawn: standard error when it is a terminal, else null. */
  bar: NodeJS.WriteStream | null;
  /** Aborted by the first Ctrl-C. */
  signal: AbortSignal;
}

/** Colours without any escape sequence. */
export const PLAIN: Colors = pc.createColors(false);

/**
 * The terminal of this process. The first Ctrl-C aborts `signal`, the second ends the process with 130. A reader
 * that closes standard output early (`| head`) ends the process quietly.
 */
export function processTerminal(): Terminal {
  const interrupt = new AbortController();
  process.on("SIGINT", () => {
    if (interrupt.signal.aborted) process.exit(130);
    interrupt.abort();
  });
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    colors: pc.createColors(wantsColor(process.stdout.isTTY === true, process.env)),
    bar: process.stderr.isTTY ? process.stderr : null,
    signal: interrupt.signal,
  };
}

/** Colour on a terminal that can, unless NO_COLOR (https://no-color.org) is set to anything. */
export function wantsColor(isTerminal: boolean, env: NodeJS.ProcessEnv): boolean {
  return isTerminal && !env.NO_COLOR && env.TERM !== "dumb";
}
