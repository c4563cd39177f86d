// The script of a report: draws the series that the page carries. The build makes one text of it with uPlot inside.

import type uPlot from "uplot";
import type { FaultName } from "../../counters.js";
import type { LatencySeries, ReportSeries } from "../figures.js";
import { addChart, COLORS, clear, timeText } from "./chart.js";

const series = JSON.parse(document.getElementById("series")!.textContent!) as ReportSeries;
const { times, host, swap, vms, vcpus } = series;

const chartsOf = (section: string): Element => document.querySelector(`#${section} .charts`)!;
const formOf = (section: string): HTMLFormElement => document.querySelector(`#${section} form`)!;
const mib = (value: number): string =>
  value >= 1024 ? `${Number((value / 1024).toPrecision(3))} GiB` : `${Number(value.toPrecision(3))} MiB`;
const percent = (value: number): string => `${Math.round(100 * value)}%`;

function memory(): void {
  const parent = chartsOf("memory");
  addChart(parent, {
    title: "Host",
    times,
    stacked: true,
    text: mib,
    lines: [
      { label: "guests", color: COLORS.blue, values: host.guests },
      { label: "tables, swap cache, other", color: COLORS.orange, values: host.other },
      { label: "free", color: COLORS.grey, values: host.free },
    ],
  });
  for (const vm of vms) {
    addChart(parent, {
      title: `Guest ${vm.name}`,
      times,
      stacked: true,
      text: mib,
      height: 180,
      lines: [
        { label: "resident", color: COLORS.blue, values: vm.resident },
        { label: "swapped out", color: COLORS.red, values: vm.swapped },
        { label: "untouched", color: COLORS.grey, values: vm.untouched },
      ],
    });
  }
}

const KINDS: [FaultName, string][] = [
  ["major", "major faults"],
  ["minor", "minor faults"],
  ["writeProtect", "write-protection faults"],
  ["spurious", "spurious faults"],
];

function latency(): void {
  const form = formOf("latency");
  const parent = chartsOf("latency");
  const has = ({ percentiles }: LatencySeries): boolean => percentiles[0]!.some((value) => value !== null);
  const choices = vms.flatMap((vm) =>
    KINDS.filter(([kind]) => has(vm.latency[kind])).map(([kind, name]) => ({
      label: `${vm.name}: ${name}`,
      kind,
      series: vm.latency[kind],
    })),
  );
  if (choices.length === 0) {
    parent.textContent = "No access faulted.";
    return;
  }
  const select = document.createElement("select");
  select.append(...choices.map(({ label }, index) => new Option(label, String(index))));
  const label = document.createElement("label");
  label.append("Show ", select);
  form.append(label);
  const draw = (): void => {
    clear(parent);
    const chosen = choices[Number(select.value)]!;
    percentilesOf(parent, chosen.label, chosen.series);
    heatOf(parent, chosen.label, chosen.series);
  };
  select.value = String(choices.indexOf(mostMajor(choices)));
  select.addEventListener("change", draw);
  draw();
}

const faultsOf = ({ heat }: LatencySeries): number =>
  heat.cells.flat().reduce((sum, [, count]) => sum + count, 0);

/** What a reader looks for first: the guest with most major faults. */
function mostMajor<T extends { kind: FaultName; series: LatencySeries }>(choices: readonly T[]): T {
  const weight = ({ kind, series }: T): number => (kind === "major" ? faultsOf(series) : 0);
  return choices.reduce((best, one) => (weight(one) > weight(best) ? one : best));
}

function percentilesOf(parent: Element, label: string, { percentiles }: LatencySeries): void {
  const [p50, p90, p99, p999] = percentiles as [
    (number | null)[],
    (number | null)[],
    (number | null)[],
    (number | null)[],
  ];
  addChart(parent, {
    title: `Latency of ${label}, percentiles of each interval`,
    times,
    log: true,
    text: timeText,
    lines: [
      { label: "p50", color: COLORS.blue, values: p50 },
      { label: "p90", color: COLORS.green, values: p90, dash: [12, 4] },
      { label: "p99", color: COLORS.orange, values: p99, dash: [6, 3] },
      { label: "p99.9", color: COLORS.red, values: p999, dash: [2, 3] },
    ],
  });
}

// Cividis, which reads the same with and without red-green blindness, also in grey.
const CIVIDIS = ["#00224e", "#2a3f6d", "#575c6d", "#7c7b78", "#a59c74", "#d2c060", "#fee838"];

function heatOf(parent: Element, label: string, { percentiles, heat }: LatencySeries): void {
  const most = Math.max(...heat.cells.flatMap((cells) => cells.map(([, count]) => count)));
  const rows = 1 + Math.max(...heat.cells.flatMap((cells) => cells.map(([row]) => row)));
  const colorOf = (count: number): string => {
    const share = most > 1 ? Math.log(count) / Math.log(most) : 1;
    return CIVIDIS[Math.round((1 - share) * (CIVIDIS.length - 1))]!;
  };
  addChart(parent, {
    title: `Latency of ${label}, number of faults (heat map)`,
    times,
    log: true,
    min: heat.lowestNs,
    max: heat.lowestNs * 2 ** (rows / 2),
    text: timeText,
    lines: [{ label: "median", color: COLORS.red, values: percentiles[0]! }],
    note: (index) => `${heat.cells[index]!.reduce((sum, [, count]) => sum + count, 0)} faults`,
    paint: (plot: uPlot) => {
      const { ctx } = plot;
      ctx.save();
      ctx.beginPath();
      ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
      ctx.clip();
      for (const [index, cells] of heat.cells.entries()) {
        const left = plot.valToPos(times[index - 1] ?? 0, "x", true);
        const right = plot.valToPos(times[index]!, "x", true);
        for (const [row, count] of cells) {
          const top = plot.valToPos(heat.lowestNs * 2 ** ((row + 1) / 2), "y", true);
          const bottom = plot.valToPos(heat.lowestNs * 2 ** (row / 2), "y", true);
          ctx.fillStyle = colorOf(count);
          ctx.fillRect(left, top, Math.max(1, right - left), bottom - top);
        }
      }
      ctx.restore();
    },
  });
  const scale = document.createElement("p");
  scale.className = "scale";
  const bar = document.createElement("i");
  bar.style.background = `linear-gradient(to right, ${[...CIVIDIS].reverse().join(", ")})`;
  scale.append("1 fault", bar, `${most} faults in one cell (logarithmic)`);
  parent.append(scale);
}

function traffic(): void {
  const parent = chartsOf("swap");
  if (![...swap.in, ...swap.out, ...host.slots].some((value) => value > 0)) {
    parent.textContent = "Nothing was swapped.";
    return;
  }
  addChart(parent, {
    title: "Pages swapped in and out, per second",
    times,
    text: mib,
    lines: [
      { label: "in", color: COLORS.blue, values: swap.in },
      { label: "out", color: COLORS.red, values: swap.out, dash: [8, 4] },
    ],
  });
  addChart(parent, {
    title: "Swap in use",
    times,
    height: 160,
    text: mib,
    lines: [{ label: "slots", color: COLORS.purple, values: host.slots }],
  });
}

function timelines(): void {
  const form = formOf("vcpus");
  const parent = chartsOf("vcpus");
  const boxes = vcpus.map(({ name }) => {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    const label = document.createElement("label");
    label.append(box, ` ${name}`);
    form.append(label);
    return box;
  });
  const draw = (): void => {
    clear(parent);
    for (const [index, { name, running, blocked }] of vcpus.entries()) {
      if (!boxes[index]!.checked) continue;
      const idle = running.map((share, at) => Math.max(0, 1 - share - blocked[at]!));
      addChart(parent, {
        title: `vCPU ${name}`,
        times,
        stacked: true,
        max: 1,
        height: 120,
        text: percent,
        lines: [
          { label: "running", color: COLORS.green, values: running },
          { label: "blocked", color: COLORS.red, values: blocked },
          { label: "nothing to run", color: COLORS.grey, values: idle },
        ],
      });
    }
  };
  form.addEventListener("change", draw);
  draw();
}

if (times.length > 0) {
  memory();
  latency();
  traffic();
  timelines();
}
