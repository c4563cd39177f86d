// How the process ends: exit codes, and the one line that an error becomes.

import { CommanderError } from "commander";
import { type ErrorCode, PagevisorError } from "../errors.js";
import type { RunStatus } from "../result.js";

/** Exit codes; `internal` is EX_SOFTWARE of sysexits.h. */
export const EXIT = {
  done: 0,
  oom: 1,
  readError: 1,
  disagreement: 1,
  usage: 2,
  violation: 3,
  internal: 70,
  interrupted: 130,
} as const;

/** Codes that are a bug when they reach the command line; all others are about input or use. */
const BUGS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["E_INTERNAL", "E_DISPOSED"]);

export function exitOfStatus(status: RunStatus): number {
  return EXIT[status];
}

/** What a report of a bug needs to be reproduced. */
export interface Circumstances {
  version: string;
  /** The command line's arguments. */
  args: string[];
  /** Null while it is not known. */
  seed: number | null;
  /** Prints stack traces. */
  debug: boolean;
}

export interface Failure {
  exitCode: number;
  /** For standard error, with its newline; empty when there is nothing to say. */
  text: string;
}

/** What to print and how to exit for anything that a command threw. */
export function failureOf(error: unknown, circumstances: Circumstances): Failure {
  if (error instanceof CommanderError) return failureOfCommander(error);
  const message = oneLine(error instanceof Error ? error.message : String(error));
  const stack = circumstances.debug && error instanceof Error ? `${error.stack ?? ""}\n` : "";
  if (error instanceof PagevisorError && !BUGS.has(error.code)) {
    return { exitCode: EXIT.usage, text: `pagevisor: ${message}\n${stack}` };
  }
  const { version, args, seed } = circumstances;
  const command = ["pagevisor", ...args.map(quoted)].join(" ");
  return {
    exitCode: EXIT.internal,
    text:
      `pagevisor: internal error: ${message}. This is a bug; please report it with: ` +
      `version ${version}, seed ${seed ?? "unknown"}, command: ${command}\n${stack}`,
  };
}

/** Help and version are no errors; a missing command has printed the help already. */
function failureOfCommander(error: CommanderError): Failure {
  if (error.exitCode === 0) return { exitCode: EXIT.done, text: "" };
  if (error.code === "commander.help") return { exitCode: EXIT.usage, text: "" };
  return { exitCode: EXIT.usage, text: `pagevisor: ${oneLine(error.message.replace(/^error: /, ""))}\n` };
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, " ").trim();
}

function quoted(arg: string): string {
  return /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`;
}
