// The options that `run` and `replay` share: how their values are read, and what they do to a scenario.

import { type Command, InvalidArgumentError, Option } from "commander";
import { PagevisorError } from "../errors.js";
import type { Limit } from "../machine.js";
import type { Scenario } from "../scenario.js";
import { setPath } from "../setpath.js";
import { parseSize, parseTime, type Reading } from "../units.js";

const SEED_MAX = 0xffff_ffff; // the scenario's seed is a u32

const COUNT_MAX = 4096; // each reference walks the list

export interface Assignment {
  path: string;
  value: string;
}

/** What commander makes of the options. */
export interface RunFlags {
  json?: boolean;
  seed?: number;
  set?: Assignment[];
  series?: string;
  /** Virtual ns between two lines of the series. */
  every?: number;
  trace?: string;
  hgrm?: string;
  accesses?: number;
  /** Virtual ns. */
  time?: number;
  /** Absent when neither `--rows` nor `--no-rows` was given. */
  rows?: boolean;
}

/** Adds the options that change the scenario and its limits, which `sweep` has too. */
export function addScenarioOptions(command: Command): Command {
  return command
    .addOption(new Option("--seed <n>", "seed of the run, instead of the scenario's").argParser(readSeed))
    .addOption(
      new Option(
        "--set <path=value>",
        "change a value of the scenario, as in vms.db.memory=1GiB; may be repeated",
      ).argParser(readAssignment),
    )
    .addOption(new Option("--accesses <n>", "end after this many accesses").argParser(readPositive))
    .addOption(new Option("--time <time>", "end after this much virtual time, as in 2s").argParser(readTime));
}

/** Adds the shared options to `command`. */
export function addRunOptions(command: Command): Command {
  command.addOption(new Option("--json", "print the result as one JSON document, nothing else"));
  return addScenarioOptions(command)
    .addOption(new Option("--rows", "print five rows: the run with 100 to 60% of the host's memory"))
    .addOption(new Option("--no-rows", "leave the five rows out"))
    .addOption(new Option("--series <file>", "write the counters over time, one JSON object a line"))
    .addOption(new Option("--every <time>", "virtual time between two lines of --series").argParser(readTime))
    .addOption(
      new Option(
        "--trace <file>",
        "write the tracepoints, those the scenario enables, else all: ftrace text, or Perfetto's protobuf as .perfetto-trace",
      ),
    )
    .addOption(new Option("--hgrm <prefix>", "write every latency histogram, as in h- for h-db-major.hgrm"));
}

/** Refuses options that make no sense together. Throws `E_USAGE`. */
export function checkFlags(flags: RunFlags): void {
  if ((flags.series === undefined) !== (flags.every === undefined)) {
    throw new PagevisorError(
      "E_USAGE",
      "--series FILE and --every TIME go together, as in --series s.ndjson --every 10ms",
    );
  }
  if (flags.json && flags.rows) {
    throw new PagevisorError("E_USAGE", "--rows prints text and --json does not: leave out one of them");
  }
}

/** The limit that the options name, or undefined for the scenario's own duration. */
export function limitOf({ accesses, time }: Pick<RunFlags, "accesses" | "time">): Limit | undefined {
  if (accesses === undefined && time === undefined) return undefined;
  return { ...(accesses !== undefined && { accesses }), ...(time !== undefined && { time }) };
}

/** `scenario` with `--set`, in the order given, then `--seed`. Throws `E_SCENARIO`. */
export function applyFlags(scenario: Scenario, flags: Pick<RunFlags, "set" | "seed">): Scenario {
  let changed = scenario;
  for (const { path, value } of flags.set ?? []) changed = setPath(changed, path, value);
  return flags.seed === undefined ? changed : setPath(changed, "seed", flags.seed);
}

/** `scenario` with every tracepoint enabled, unless it says itself which are. */
export function withTracepoints(scenario: Scenario): Scenario {
  return (scenario.trace ?? null) === null ? setPath(scenario, "trace.events", ["*"]) : scenario;
}

/** A size as `parseSize` reads it; a bare number is bytes. Returns bytes, at least 1. */
export function readSize(text: string): number {
  return readQuantity(text, parseSize);
}

/** A time as `parseTime` reads it; a bare number is nanoseconds. Returns ns, at least 1. */
export function readTime(text: string): number {
  return readQuantity(text, parseTime);
}

/** Names or values between commas; an option that is repeated adds to them. */
export function readList(text: string, previous: string[] | undefined): string[] {
  const parts = text.split(",").map((part) => part.trim());
  if (parts.includes("")) throw new InvalidArgumentError("Write values between single commas, as in a,b,c.");
  return [...(previous ?? []), ...parts];
}

function readQuantity(text: string, parse: (value: number | string) => Reading): number {
  const reading = parse(/^\d+$/.test(text) ? Number(text) : text);
  if (!reading.ok) throw new InvalidArgumentError(`${reading.problem}.`);
  if (reading.value === 0) throw new InvalidArgumentError("It must be more than 0.");
  return reading.value;
}

function readSeed(text: string): number {
  const seed = Number(text);
  if (/^\d+$/.test(text) && seed <= SEED_MAX) return seed;
  throw new InvalidArgumentError(`Allowed is a whole number from 0 to ${SEED_MAX}.`);
}

/** A number of pages of a small list. */
export function readCount(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= COUNT_MAX) return value;
  throw new InvalidArgumentError(`Allowed is a whole number from 0 to ${COUNT_MAX}.`);
}

/** A whole number from 1. */
export function readPositive(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value > 0 && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError("Allowed is a whole number, 1 or more.");
}

function readAssignment(text: string, previous: Assignment[] | undefined): Assignment[] {
  const equals = text.indexOf("=");
  if (equals < 1) throw new InvalidArgumentError("Write path=value, as in host.memory=64MiB.");
  return [...(previous ?? []), { path: text.slice(0, equals), value: text.slice(equals + 1) }];
}
