// One chart of the page: uPlot, with the keyboard and a line of text that says what the pointer or the keys are at.

import uPlot from "uplot";

// Okabe and Ito's colours, which differ under every kind of colour blindness; lines also differ in their dashes.
export const COLORS = {
  blue: "#0072b2",
  orange: "#e69f00",
  green: "#009e73",
  red: "#d55e00",
  purple: "#cc79a7",
  sky: "#56b4e9",
  grey: "#b8b8b8",
};

export interface Line {
  label: string;
  color: string;
  values: (number | null)[];
  dash?: number[];
}

export interface ChartOptions {
  title: string;
  times: number[];
  lines: Line[];
  /** A value as text. */
  text: (value: number) => string;
  height?: number;
  /** Areas on top of each other; the first one lies at the bottom. */
  stacked?: boolean;
  log?: boolean;
  max?: number;
  min?: number;
  /** Paints behind the lines. */
  paint?: (plot: uPlot) => void;
  /** More to say about a moment. */
  note?: (index: number) => string;
}

/** Virtual time as text, with the unit that suits it. */
export function timeText(ns: number): string {
  const [unit, size] = ns >= 1e9 ? ["s", 1e9] : ns >= 1e6 ? ["ms", 1e6] : ns >= 1e3 ? ["µs", 1e3] : ["ns", 1];
  return `${Number((ns / size).toPrecision(3))} ${unit}`;
}

const charts = new Set<{ plot: uPlot; host: HTMLElement }>();
const sync = uPlot.sync("time");

/** Adds a chart to `parent`. */
export function addChart(parent: Element, options: ChartOptions): void {
  const { title, times, lines, text, stacked = false, log = false } = options;
  const figure = document.createElement("div");
  figure.className = "chart";
  const heading = document.createElement("h3");
  heading.textContent = title;
  const host = document.createElement("div");
  host.tabIndex = 0;
  host.setAttribute("role", "group");
  host.setAttribute(
    "aria-label",
    `${title}: chart of ${lines.map(({ label }) => label).join(", ")} over time`,
  );
  const readout = document.createElement("p");
  readout.className = "readout";
  readout.setAttribute("role", "status");
  figure.append(heading, host, readout);
  parent.append(figure);

  const shown = stacked ? stackOf(lines) : lines.map(({ values }) => values);
  const sayAt = (index: number): void => {
    const values = lines.map(({ label, values }) => {
      const value = values[index];
      return `${label} ${value === null || value === undefined ? "none" : text(value)}`;
    });
    const note = options.note?.(index) ?? "";
    readout.textContent = `At ${timeText(times[index]!)}: ${[...values, ...(note === "" ? [] : [note])].join(", ")}`;
  };
  const plot = new uPlot(
    {
      width: host.clientWidth,
      height: options.height ?? 240,
      scales: {
        x: { time: false },
        y: {
          distr: log ? 3 : 1,
          ...(log ? { log: 10 as const } : {}),
          range: (_, low, high): [number, number] => rangeOf(low, high, options),
        },
      },
      axes: [
        { values: (_, ticks) => ticks.map((tick) => (tick === 0 ? "0" : timeText(tick))), space: 80 },
        { values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : text(tick))), size: 80, space: 30 },
      ],
      series: [
        { label: "time", value: (_, value) => (value === null ? "–" : timeText(value)) },
        ...lines.map(({ label, color, dash }, at) => ({
          label,
          stroke: color,
          width: stacked ? 1 : 2,
          points: { show: false },
          ...(stacked ? { fill: `${color}cc` } : {}),
          ...(dash ? { dash } : {}),
          value: (_: uPlot, __: unknown, ___: number, index: number | null) => {
            const value = index === null ? null : lines[at]!.values[index];
            return value === null || value === undefined ? "–" : text(value);
          },
        })),
      ],
      // The area of a line reaches down to the one below it.
      ...(stacked
        ? { bands: lines.slice(1).map((_, at) => ({ series: [at + 2, at + 1] as [number, number] })) }
        : {}),
      cursor: { sync: { key: sync.key }, drag: { x: true, y: false } },
      hooks: {
        ...(options.paint ? { drawAxes: [options.paint] } : {}),
        setCursor: [
          ({ cursor }) =>
            typeof cursor.idx === "number" && host.matches(":hover, :focus") && sayAt(cursor.idx),
        ],
      },
    },
    [times, ...shown] as uPlot.AlignedData,
    host,
  );
  charts.add({ plot, host });
  host.addEventListener("keydown", (event) => {
    const last = times.length - 1;
    const from = plot.cursor.idx ?? -1;
    const step = event.shiftKey ? 10 : 1;
    const to: Record<string, number> = {
      ArrowLeft: from - step,
      ArrowRight: from + step,
      Home: 0,
      End: last,
    };
    const index = to[event.key];
    if (index === undefined) return;
    event.preventDefault();
    const at = Math.min(last, Math.max(0, index));
    plot.setCursor({ left: plot.valToPos(times[at]!, "x"), top: 1 });
    sayAt(at);
  });
}

function stackOf(lines: readonly Line[]): number[][] {
  const sums: number[][] = [];
  for (const { values } of lines) {
    const below = sums.at(-1);
    sums.push(values.map((value, index) => (value ?? 0) + (below?.[index] ?? 0)));
  }
  return sums;
}

function rangeOf(low: number | null, high: number | null, { log, max, min }: ChartOptions): [number, number] {
  if (log) {
    const [least, most] = [min ?? low ?? 1, max ?? high ?? 10];
    return [10 ** Math.floor(Math.log10(least)), 10 ** Math.ceil(Math.log10(Math.max(most, least * 1.01)))];
  }
  return [0, max ?? (high !== null && high > 0 ? high * 1.05 : 1)];
}

/** Takes the charts of `parent` away. */
export function clear(parent: Element): void {
  for (const chart of charts) {
    if (!parent.contains(chart.host)) continue;
    chart.plot.destroy();
    charts.delete(chart);
  }
  parent.replaceChildren();
}

addEventListener("resize", () => {
  for (const { plot, host } of charts) plot.setSize({ width: host.clientWidth, height: plot.height });
});
