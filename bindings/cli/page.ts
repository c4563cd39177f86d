// The readable page of one run: what a person who plans capacity wants to see, no wider than 100 columns.
// Left out: counters of mechanisms that have their own reports; `--json` has everything.

import type { FaultKind, RunResult, RunStatus, Violation, VmResult } from "../result.js";
import { formatBytes, formatNs } from "../units.js";
import { count, NONE, pages, rate, share, time } from "./numbers.js";
import { faultCount, kindsOf, sumStages, totalNs } from "./stages.js";
import { type Column, table, WIDTH, wrap } from "./table.js";
import type { Colors } from "./terminal.js";

const ENDINGS: Record<string, string> = {
  tasks: "every task has ended",
  accesses: "the limit of accesses is reached",
  time: "the limit of time is reached",
  signal: "by Ctrl-C; these are the results so far",
  oom: "no memory left to reclaim",
  readError: "a page could not be read from its swap device",
  violation: "memory did not hold what was written",
};

/** The first column of all three tables about guests is equally wide, up to this many characters. */
const NAME_WIDTH_MAX = 24;

const left = (head: string): Column => ({ head, align: "left" });
const right = (head: string): Column => ({ head, align: "right" });

/**
 * The page of `result`, lines joined by newlines, one at the end.
 *
 * @param source the file, preset or trace that was run, as the user named it
 */
export function page(result: RunResult, source: string, colors: Colors): string {
  const sections = [
    header(result, source, colors),
    guests(result, colors),
    faults(result.vms, colors),
    faultTime(result.vms, colors),
    freePages(result, colors),
    host(result, colors),
    violations(result.violations ?? [], colors),
  ];
  return `${sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join("\n"))
    .join("\n\n")}\n`;
}

function header(result: RunResult, source: string, colors: Colors): string[] {
  const { name, description } = result.scenario;
  const ending = result.oom?.where ?? ENDINGS[result.stoppedBy] ?? result.stoppedBy;
  const simulated = `${formatNs(result.wall.ms * 1e6)} of wall time, ${rate(result.wall.accessesPerSecond, "accesses")}`;
  return [
    (name ?? source) === source ? colors.bold(source) : `${colors.bold(name)} (${source})`,
    ...wrap(description ?? "", WIDTH).map((line) => colors.dim(line)),
    ...facts([
      ["status", `${paintStatus(result.status, colors)}: ${ending}`],
      [
        "simulated",
        `${count(result.accesses)} accesses in ${formatNs(result.virtualTimeNs)} of virtual time`,
      ],
      ["speed", `${simulated}, ${formatBytes(result.footprintBytes)} of state`],
      ["run", `seed ${result.seed}, digest ${result.digest}, pagevisor ${result.version}`],
    ]),
  ];
}

function paintStatus(status: RunStatus, colors: Colors): string {
  if (status === "done") return colors.green(status);
  return status === "interrupted" ? colors.yellow(status) : colors.red(status);
}

function names(head: string, vms: VmResult[]): Column {
  const longest = Math.max("Fault time".length, ...vms.map(({ name }) => name.length));
  return left(head.padEnd(Math.min(longest, NAME_WIDTH_MAX)));
}

/** One line a guest: how much it did, what memory it had, how long it waited for it. */
function guests(result: RunResult, colors: Colors): string[] {
  const columns = [
    names("Guests", result.vms),
    ...["accesses", "throughput", "resident", "peak", "swapped", "blocked", "stalled"].map(right),
  ];
  const rows = result.vms.map((vm) => [
    vm.name,
    count(vm.accesses),
    rate(vm.throughput),
    pages(vm.memory.residentPages),
    pages(vm.memory.peakResidentPages),
    pages(vm.memory.swappedPages),
    time(vm.vcpuBlockedNs),
    share(vm.stall.someNs, vm.virtualTimeNs),
  ]);
  return headed(table(columns, rows), colors);
}

/** A line for each kind of fault that occurred; minor and major faults always. */
function faults(vms: VmResult[], colors: Colors): string[] {
  const columns = [
    names("Faults", vms),
    left("kind"),
    ...["count", "mean", "p50", "p99", "p99.9", "max"].map(right),
  ];
  const rows = vms.flatMap((vm) => {
    const kinds: [string, FaultKind][] = [
      ["minor", vm.faults.minor],
      ["major", vm.faults.major],
    ];
    if (vm.faults.writeProtect.count > 0) kinds.push(["write-protect", vm.faults.writeProtect]);
    if (vm.faults.spurious.count > 0) kinds.push(["spurious", vm.faults.spurious]);
    return kinds.map(([kind, fault], index) => [index === 0 ? vm.name : "", kind, ...latencies(fault)]);
  });
  return headed(table(columns, rows), colors);
}

function latencies({ count: faultsOfKind, latency }: FaultKind): string[] {
  const { mean, p50, p99, p999, max } = latency;
  return [count(faultsOfKind), ...[mean, p50, p99, p999, max].map(time)];
}

/** Where the time of each guest's faults went, all kinds together, largest share first. */
function faultTime(vms: VmResult[], colors: Colors): string[] {
  const columns = [names("Fault time", vms), left("stage"), ...["share", "time", "a fault"].map(right)];
  const rows = vms.flatMap((vm) => {
    const stages = sumStages(kindsOf(vm));
    const faultsOfVm = faultCount(kindsOf(vm));
    const total = totalNs(stages);
    if (total === 0) return [[vm.name, NONE, NONE, NONE, NONE]];
    return stages.map(({ name, ns }, index) => [
      index === 0 ? vm.name : "",
      name,
      share(ns, total),
      formatNs(ns),
      formatNs(Math.round(ns / faultsOfVm)),
    ]);
  });
  return headed(table(columns, rows), colors);
}

/** A line for each guest that tells the host of free memory: how often, how much at a time, and what it cost. */
function freePages({ vms, scenario }: RunResult, colors: Colors): string[] {
  const telling = vms.flatMap((vm) => {
    const told = scenario.vms?.find(({ name }) => name === vm.name)?.guest?.freePages;
    return told === undefined ? [] : [{ vm, told }];
  });
  if (telling.every(({ told }) => told.design === "off")) return [];
  const columns = [
    names("Free pages", vms),
    left("design"),
    ...["requests", "pages each", "4K pages", "coverage", "refaults", "scanning"].map(right),
  ];
  const rows = telling.map(({ vm, told }) => {
    const { requests, pagesReported, pagesByOrder, released, freed, refaults, scanNs } = vm.freePages;
    return [
      vm.name,
      told.minOrder !== null && told.minOrder > 0 ? `${told.design}, ${told.minOrder}` : told.design,
      count(requests),
      requests === 0 ? NONE : count(Math.round(pagesReported / requests)),
      share(pagesByOrder[0] ?? 0, pagesReported),
      share(released, freed),
      count(refaults),
      time(scanNs),
    ];
  });
  return headed(table(columns, rows), colors);
}

function host(result: RunResult, colors: Colors): string[] {
  const { memory, swap, reclaim, devices } = result.host;
  const noSlot: [string, string][] = swap.allocFailed > 0 ? [["no slot left", count(swap.allocFailed)]] : [];
  const size = formatBytes(result.scenario.host.memory);
  return [
    `${colors.bold("Host")}`,
    ...facts([
      [
        "memory",
        listed([
          [`${size}, free`, pages(memory.freePages)],
          ["least free", pages(memory.minFreePages)],
        ]),
      ],
      [
        "swap",
        listed([
          ["in", moved(swap.in)],
          ["out", moved(swap.out)],
          ["slots used", moved(swap.slotsUsed)],
          ...noSlot,
        ]),
      ],
      [
        "reclaim",
        listed([
          ["scanned", count(reclaim.scanned)],
          ["reclaimed by kswapd", count(reclaim.reclaimedKswapd)],
          ["direct", count(reclaim.reclaimedDirect)],
        ]),
      ],
      ...devices.map((device): [string, string] => [
        device.name,
        listed([
          ["reads", count(device.reads)],
          ["writes", count(device.writes)],
          ["busy", time(device.busyNs)],
          ["longest queue", count(device.queuePeak)],
          ...(device.readErrors === undefined
            ? []
            : [["failed reads", count(device.readErrors)] as [string, string]]),
        ]),
      ]),
    ]),
  ];
}

/** `in 12,345, out –`: the name before the value, so that a dash reads as "none". */
function listed(values: [string, string][]): string {
  return values.map(([name, value]) => `${name} ${value}`).join(", ");
}

/** A number of 4 KiB pages and what they amount to. */
function moved(value: number): string {
  return value === 0 ? NONE : `${count(value)} (${pages(value)})`;
}

/** Free page hinting of 2019 has no bound for its second array. */
function overflow({ vm, gfn, vcpu, timeNs }: Violation): string {
  return (
    `${vm} gfn 0x${gfn.toString(16)}, isolated on vCPU ${vcpu} at ${formatNs(timeNs)}: the 1,000 places of ` +
    "hypervisor_pagelist are taken, and the patch writes behind its end"
  );
}

function violations(found: Violation[], colors: Colors): string[] {
  if (found.length === 0) return [];
  return [
    colors.red("Violations"),
    ...facts(
      found.map((one) => [
        one.kind,
        one.kind === "arrayOverflow"
          ? overflow(one)
          : one.kind === "misreadQueue"
            ? `${one.vm} at ${formatNs(one.timeNs)}: the host has read a queue of the balloon as hints of 2019 that its driver uses for another one`
            : `${one.vm} gfn 0x${one.gfn.toString(16)}, seen by vCPU ${one.vcpu} at ${formatNs(one.timeNs)}: ` +
              `holds write ${one.got}, not write ${one.expected} (by vCPU ${one.writtenBy} at ${formatNs(one.writtenAtNs)})`,
      ]),
    ),
  ];
}

/** Lines of a name and what is to be said about it, the second column aligned and wrapped. */
function facts(entries: [string, string][]): string[] {
  const indent = 4 + Math.max(...entries.map(([name]) => name.length));
  return entries.flatMap(([name, text]) =>
    wrap(text, WIDTH - indent).map((line, index) => `  ${index === 0 ? name : ""}`.padEnd(indent) + line),
  );
}

function headed(lines: string[], colors: Colors): string[] {
  return lines.map((line, index) => (index === 0 ? colors.bold(line) : line));
}
