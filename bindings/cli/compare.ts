// `pagevisor compare`: results that were written before, side by side, with what differs between them and the first.

import type { RunResult, VmResult } from "../result.js";
import { formatBytes, formatNs } from "../units.js";
import { EXIT } from "./exit.js";
import { type Group, groupsOf, numbersOf, type Spread, scenarioDifferences, spreadOf } from "./groups.js";
import { count, NONE, pages, rate, share, time } from "./numbers.js";
import { readResults } from "./resultfile.js";
import { type Column, table } from "./table.js";
import type { Colors, Terminal } from "./terminal.js";

export interface CompareFlags {
  json?: boolean;
  all?: boolean;
}

/** For the command's help. */
export const COMPARE_HELP = `\
FILE is what "run --json" or "sweep --ndjson" has printed. Runs that differ in nothing
but the seed are one column: the median, and in brackets the least and the most. Beside
the others stands the change against the first column; "~" before it: the two ranges
overlap, so the seeds alone may explain it.

--all lists every number of the results that differs, by its path. --json prints all
of them as one document: per column median, min and max, and the change as a ratio.`;

interface Figure {
  name: string;
  of: (result: RunResult) => number | undefined;
  text: (value: number) => string;
}

const inVm = (vm: string, of: (vm: VmResult) => number): Figure["of"] => {
  return (result) => {
    const found = result.vms.find(({ name }) => name === vm);
    return found === undefined ? undefined : of(found);
  };
};

/** The figures of a guest, by what they are for. */
function vmFigures(vm: string): Figure[] {
  const figure = (name: string, of: (vm: VmResult) => number, text: Figure["text"]): Figure => ({
    name,
    of: inVm(vm, of),
    text,
  });
  return [
    figure("throughput", ({ throughput }) => throughput, rate),
    figure("major faults", ({ faults }) => faults.major.count, count),
    figure("  mean", ({ faults }) => faults.major.latency.mean, time),
    figure("  p99", ({ faults }) => faults.major.latency.p99, time),
    figure("  p99.9", ({ faults }) => faults.major.latency.p999, time),
    figure("minor faults", ({ faults }) => faults.minor.count, count),
    figure("  mean", ({ faults }) => faults.minor.latency.mean, time),
    figure("  p99", ({ faults }) => faults.minor.latency.p99, time),
    figure("blocked", ({ vcpuBlockedNs }) => vcpuBlockedNs, time),
    figure(
      "stalled",
      ({ stall, virtualTimeNs }) => (virtualTimeNs > 0 ? stall.someNs / virtualTimeNs : 0),
      (value) => share(value, 1),
    ),
    figure("resident", ({ memory }) => memory.residentPages, pages),
    figure("swapped", ({ memory }) => memory.swappedPages, pages),
  ];
}

const HOST_FIGURES: Figure[] = [
  { name: "virtual time", of: ({ virtualTimeNs }) => virtualTimeNs, text: time },
  { name: "swapped in", of: ({ host }) => host.swap.in, text: pages },
  { name: "swapped out", of: ({ host }) => host.swap.out, text: pages },
  { name: "scanned", of: ({ host }) => host.reclaim.scanned, text: count },
  { name: "reclaimed direct", of: ({ host }) => host.reclaim.reclaimedDirect, text: count },
  { name: "reclaimed by kswapd", of: ({ host }) => host.reclaim.reclaimedKswapd, text: count },
  { name: "least free", of: ({ host }) => host.memory.minFreePages, text: pages },
];

/**
 * Prints the results of `files` side by side.
 *
 * @returns the exit code
 * @throws PagevisorError E_FILE for a file that is none
 */
export function compareCommand(files: readonly string[], flags: CompareFlags, terminal: Terminal): number {
  const groups = groupsOf(files.flatMap(readResults));
  terminal.out(
    flags.json
      ? `${JSON.stringify(comparison(groups), null, 2)}\n`
      : compareText(groups, flags.all === true, terminal.colors),
  );
  return EXIT.done;
}

/** The document of --json. */
export function comparison(groups: readonly Group[]) {
  const paths = new Set(groups.flatMap(({ results }) => [...numbersOf(results[0]!).keys()]));
  return {
    schema: "pagevisor.compare/1",
    groups: groups.map(({ name, results }) => ({
      name,
      version: results[0]!.version,
      seeds: results.map(({ seed }) => seed),
      digests: results.map(({ digest }) => digest),
      statuses: results.map(({ status }) => status),
    })),
    scenario: Object.fromEntries(scenarioDifferences(groups)),
    figures: [...paths].map((path) => {
      const spreads = groups.map(
        ({ results }) => spreadOf(results, (result) => numbersOf(result).get(path)) ?? null,
      );
      return { path, values: spreads, change: spreads.map((spread) => changeOf(spreads[0]!, spread)) };
    }),
  };
}

/** How much more the median is, as a ratio to the first one's; null where there is none, or the first is 0 and this is not. */
export function changeOf(first: Spread | null | undefined, other: Spread | null | undefined): number | null {
  if (!first || !other) return null;
  if (first.median === other.median) return 0;
  return first.median === 0 ? null : (other.median - first.median) / first.median;
}

/** The comparison as text; with `all`, every number that differs instead of the chosen figures. */
export function compareText(groups: readonly Group[], all: boolean, colors: Colors): string {
  const sections = [
    ...headLines(groups, colors),
    ...partsOf(groups).flatMap((part) => (all ? allSections(part, colors) : figureSections(part, colors))),
  ];
  return `${sections.join("\n\n")}\n`;
}

/** What is compared: names, seeds, and in what the scenarios differ. */
function headLines(groups: readonly Group[], colors: Colors): string[] {
  const statuses = groups.flatMap(({ name, results }) => {
    const odd = results.filter(({ status }) => status !== "done").map(({ status }) => status);
    return odd.length === 0 ? [] : [colors.red(`${name}: ${[...new Set(odd)].join(", ")}`)];
  });
  const cell = (path: string, value: unknown): string => {
    if (value === undefined || value === null) return NONE;
    if (typeof value !== "number") return String(value);
    if (/(^|\.)(memory|memoryMax|size)$/.test(path)) return formatBytes(value);
    return /Ns$/.test(path) ? formatNs(value) : String(value);
  };
  const columns = ["Scenario", ...groups.map(({ name }) => name)].map(
    (head, index): Column => ({ head: clip(head), align: index === 0 ? "left" : "right" }),
  );
  const rows = [...scenarioDifferences(groups)].map(([path, values]) => [
    path,
    ...values.map((value) => clip(cell(path, value))),
  ]);
  const versions = groups.map(({ results }) => results[0]!.version);
  if (new Set(versions).size > 1) rows.unshift(["version", ...versions]);
  const seeds = groups.map(({ results }) => results.length);
  if (seeds.some((runs) => runs > 1)) rows.push(["seeds", ...seeds.map(String)]);
  if (rows.length === 0) rows.push(["the same", ...groups.map(() => "")]);
  const [head = "", ...lines] = table(columns, rows);
  const text = [colors.bold(head), ...lines].join("\n");
  return statuses.length === 0 ? [text] : [text, statuses.join("\n")];
}

const NAME_CHARS = 28;

function clip(text: string): string {
  return text.length <= NAME_CHARS ? text : `…${text.slice(1 - NAME_CHARS)}`;
}

// Columns that stand beside each other on one page, with ranges fewer. Each part begins with the first group, against which the others are told.
const PART_GROUPS = 3;
const PART_GROUPS_RANGED = 2;

function partsOf(groups: readonly Group[]): Group[][] {
  const [first, ...others] = groups as [Group, ...Group[]];
  if (others.length === 0) return [[first]];
  const parts: Group[][] = [];
  const ranged = groups.some(({ results }) => results.length > 1);
  const beside = (ranged ? PART_GROUPS_RANGED : PART_GROUPS) - 1;
  for (let at = 0; at < others.length; at += beside) parts.push([first, ...others.slice(at, at + beside)]);
  return parts;
}

function figureSections(groups: readonly Group[], colors: Colors): string[] {
  const vms = [...new Set(groups.flatMap(({ results }) => results[0]!.vms.map(({ name }) => name)))];
  return [
    ...vms.map((vm) => figureTable(vm, vmFigures(vm), groups, colors)),
    figureTable("Host", HOST_FIGURES, groups, colors),
  ];
}

function figureTable(
  title: string,
  figures: readonly Figure[],
  groups: readonly Group[],
  colors: Colors,
): string {
  const rows = figures.flatMap(({ name, of, text }) => {
    const spreads = groups.map(({ results }) => spreadOf(results, of));
    // What none of them has says nothing.
    return spreads.every((spread) => !spread || spread.max === 0) ? [] : [[name, ...cells(spreads, text)]];
  });
  return headed(table(columnsFor(title, groups), rows), colors);
}

/** Numbers as JSON has them: their units are in the names. */
const plain = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(3));

function allSections(groups: readonly Group[], colors: Colors): string[] {
  const { figures } = comparison(groups);
  const rows = figures
    .filter(({ values }) => values.some((spread) => spread?.median !== values[0]?.median))
    .map(({ path, values }) => [path, ...cells(values, plain)]);
  if (rows.length === 0) return ["Every number is the same."];
  return [headed(table(columnsFor("Number", groups), rows), colors)];
}

function columnsFor(title: string, groups: readonly Group[]): Column[] {
  const heads = groups.flatMap(({ name }, index) => [clip(name), ...(index === 0 ? [] : ["change"])]);
  return [{ head: title, align: "left" }, ...heads.map((head): Column => ({ head, align: "right" }))];
}

function cells(spreads: readonly (Spread | null | undefined)[], text: (value: number) => string): string[] {
  const [first] = spreads;
  return spreads.flatMap((spread, index) => [
    spread ? valueCell(spread, text) : NONE,
    ...(index === 0 ? [] : [changeCell(first, spread)]),
  ]);
}

function valueCell({ median, min, max }: Spread, text: (value: number) => string): string {
  const [least, most] = [text(min), text(max)];
  return least === most ? text(median) : `${text(median)} (${least}..${most})`;
}

function changeCell(first: Spread | null | undefined, other: Spread | null | undefined): string {
  if (!first || !other) return "";
  const change = changeOf(first, other);
  if (change === 0) return "=";
  const ranged = first.min !== first.max || other.min !== other.max;
  const overlap = ranged && first.min <= other.max && other.min <= first.max ? "~" : "";
  if (change === null) return `${overlap}from 0`;
  const percent = 100 * change;
  if (Math.abs(percent) < 0.05) return `${overlap}±0.0%`;
  const digits = Math.abs(percent) < 10 ? percent.toFixed(1) : Math.round(percent).toLocaleString("en-US");
  return `${overlap}${percent > 0 ? "+" : ""}${digits}%`;
}

function headed(lines: string[], colors: Colors): string {
  return lines.map((line, index) => (index === 0 ? colors.bold(line) : line)).join("\n");
}
