// What the charts of a report show: series over virtual time, made of a record's counters. Sizes in MiB, times in ns, shares 0..1.

import { FAULT_NAMES, type FaultName } from "../counters.js";
import type { LatencyHistogram } from "../histogram.js";
import type { Moment, RunRecord } from "./record.js";

const PAGES_PER_MIB = 256;
const PERCENTILES = [0.5, 0.9, 0.99, 0.999] as const;

/** Latencies of one kind of fault in one VM. */
export interface LatencySeries {
  /** p50, p90, p99, p99.9 of each interval; null where it had no such fault. */
  percentiles: (number | null)[][];
  /** Faults by latency: bounds of the rows (ns, each √2 times the one below), and for each interval the rows that are not empty. */
  heat: { lowestNs: number; cells: [row: number, count: number][][] };
}

export interface VmSeries {
  name: string;
  resident: number[];
  swapped: number[];
  untouched: number[];
  latency: Record<FaultName, LatencySeries>;
}

export interface VcpuSeries {
  name: string;
  /** Shares of each interval: running the guest, blocked in the host; the rest had nothing to run. */
  running: number[];
  blocked: number[];
}

export interface ReportSeries {
  /** Virtual ns at the end of each interval. */
  times: number[];
  host: { guests: number[]; other: number[]; free: number[]; slots: number[] };
  /** MiB a second of virtual time. */
  swap: { in: number[]; out: number[] };
  vms: VmSeries[];
  vcpus: VcpuSeries[];
}

/** The series of a record; `chosen` are the names of vCPUs ("db/0"). */
export function seriesOf({ first, moments }: RunRecord, chosen: readonly string[]): ReportSeries {
  const before = (index: number): Moment => moments[index - 1] ?? first;
  const each = <T>(of: (moment: Moment, earlier: Moment) => T): T[] =>
    moments.map((moment, index) => of(moment, before(index)));
  const mib = (pages: number): number => round(pages / PAGES_PER_MIB);
  const total = first.result.scenario.host.memory / 4096;
  const guests = ({ result }: Moment): number =>
    result.vms.reduce((sum, { memory }) => sum + memory.residentPages, 0);
  const perSecond = (of: (moment: Moment) => number) =>
    each((now, then) => {
      const seconds = (now.timeNs - then.timeNs) / 1e9;
      return seconds > 0 ? round((of(now) - of(then)) / PAGES_PER_MIB / seconds) : 0;
    });
  return {
    times: each(({ timeNs }) => timeNs),
    host: {
      guests: each((moment) => mib(guests(moment))),
      other: each((moment) => mib(Math.max(0, total - guests(moment) - moment.result.host.memory.freePages))),
      free: each(({ result }) => mib(result.host.memory.freePages)),
      slots: each(({ result }) => mib(result.host.swap.slotsUsed)),
    },
    swap: {
      in: perSecond(({ result }) => result.host.swap.in),
      out: perSecond(({ result }) => result.host.swap.out),
    },
    vms: first.result.vms.map(({ name }, vm) => ({
      name,
      resident: each(({ result }) => mib(result.vms[vm]!.memory.residentPages)),
      swapped: each(({ result }) => mib(result.vms[vm]!.memory.swappedPages)),
      untouched: each(({ result }) => mib(result.vms[vm]!.memory.untouchedPages)),
      latency: Object.fromEntries(
        FAULT_NAMES.map((kind, index) => [
          kind,
          latencySeries(first, moments, vm * FAULT_NAMES.length + index),
        ]),
      ) as Record<FaultName, LatencySeries>,
    })),
    vcpus: vcpuSeries(first, moments, chosen),
  };
}

/** Four digits are more than a chart shows. */
const round = (value: number): number => Number(value.toPrecision(6));

function latencySeries(first: Moment, moments: readonly Moment[], histogram: number): LatencySeries {
  const intervals = moments.map((moment, index) =>
    newIn((moments[index - 1] ?? first).histograms[histogram]!, moment.histograms[histogram]!),
  );
  const found = intervals.map(({ buckets }) => {
    const cells = new Map<number, number>();
    for (const { highestNs, count } of buckets) {
      const row = Math.floor(2 * Math.log2(Math.max(1, highestNs)));
      cells.set(row, (cells.get(row) ?? 0) + count);
    }
    return cells;
  });
  const lowest = Math.min(...found.flatMap((cells) => [...cells.keys()]));
  const base = Number.isFinite(lowest) ? lowest : 0;
  return {
    percentiles: PERCENTILES.map((share) => intervals.map((interval) => percentile(interval, share))),
    heat: {
      lowestNs: 2 ** (base / 2),
      cells: found.map((cells) => [...cells].map(([row, count]): [number, number] => [row - base, count])),
    },
  };
}

interface Counted {
  count: number;
  buckets: LatencyHistogram["buckets"];
}

/** What `after` has counted and `before` had not yet. Both rise, and no bucket loses. */
export function newIn(before: LatencyHistogram, after: LatencyHistogram): Counted {
  const old = new Map(before.buckets.map(({ highestNs, count }) => [highestNs, count]));
  const buckets = after.buckets
    .map(({ highestNs, count }) => ({ highestNs, count: count - (old.get(highestNs) ?? 0) }))
    .filter(({ count }) => count > 0);
  return { count: after.count - before.count, buckets };
}

/** The largest latency of the bucket that the share falls into, or null where nothing was counted. */
export function percentile({ count, buckets }: Counted, share: number): number | null {
  const rank = Math.ceil(share * count);
  let seen = 0;
  for (const bucket of buckets) {
    seen += bucket.count;
    if (seen >= rank) return bucket.highestNs;
  }
  return null;
}

function vcpuSeries(first: Moment, moments: readonly Moment[], chosen: readonly string[]): VcpuSeries[] {
  return first.vcpus.flatMap(({ vm, vcpu }, index) => {
    const name = `${vm}/${vcpu}`;
    if (!chosen.includes(name)) return [];
    const shares = moments.map((moment, at) => {
      const earlier = moments[at - 1] ?? first;
      const ns = moment.timeNs - earlier.timeNs;
      const [now, then] = [moment.vcpus[index]!, earlier.vcpus[index]!];
      const blocked = clamp((now.blockedNs - then.blockedNs) / ns);
      const busy = clamp((now.busyNs - then.busyNs) / ns);
      return { blocked: round(blocked), running: round(clamp(busy - blocked)) };
    });
    return [
      { name, running: shares.map(({ running }) => running), blocked: shares.map(({ blocked }) => blocked) },
    ];
  });
}

// A vCPU's clock may be a quantum ahead of the others when a moment is taken.
const clamp = (share: number): number => (share > 0 ? Math.min(share, 1) : 0);
