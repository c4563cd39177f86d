// The file itself: tables and scenario as text, the series as JSON for the script that draws them.

import { FAULT_NAMES } from "../counters.js";
import type { RunResult } from "../result.js";
import { formatBytes, formatNs } from "../units.js";
import { SCRIPT, STYLE } from "./assets.js";
import { seriesOf } from "./figures.js";
import type { RunRecord } from "./record.js";

/** What a report shows. */
export interface HtmlOptions {
  /** What was run, as the reader knows it. Default: the scenario's name. */
  title?: string;
  /** vCPUs whose time is shown, as in "db/0". Default: the first eight. */
  vcpus?: readonly string[];
}

const VCPUS_SHOWN = 8;

/** The report of a record, as the text of an HTML file. Never throws for what {@link recordRun} gave. */
export function reportHtml(record: RunRecord, options: HtmlOptions = {}): string {
  const { result } = record.moments.at(-1) ?? record.first;
  const title = options.title ?? result.scenario.name ?? "pagevisor";
  const all = record.first.vcpus.map(({ vm, vcpu }) => `${vm}/${vcpu}`);
  const series = seriesOf(record, options.vcpus ?? all.slice(0, VCPUS_SHOWN));
  // "<" would end the element that the JSON stands in.
  const json = JSON.stringify(series).replaceAll("<", "\\u003c");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="pagevisor ${escaped(result.version)}">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>${escaped(title)} – pagevisor</title>
<style>${STYLE}</style>
</head>
<body>
<a class="skip" href="#tables">Skip the charts</a>
<header>
<h1>${escaped(title)}</h1>
${result.scenario.description ? `<p>${escaped(result.scenario.description)}</p>` : ""}
${factsHtml(result)}
</header>
<main>
<p class="hint">Every chart can be reached with Tab; arrow keys, Home and End then move through time and read out the values. Times are virtual.</p>
<section id="memory"><h2>Memory by state</h2><div class="charts"></div></section>
<section id="latency"><h2>Fault latency</h2><form class="choice"></form><div class="charts"></div></section>
<section id="swap"><h2>Swap traffic</h2><div class="charts"></div></section>
<section id="vcpus"><h2>vCPUs</h2><p>Share of each interval in which a vCPU ran its guest, was blocked in the host (device, lock, reclaim, no CPU), or had nothing to run.</p><form class="choice"></form><div class="charts"></div></section>
<section id="tables"><h2>Figures</h2>${tablesHtml(result)}</section>
<section id="scenario"><h2>Scenario</h2><details><summary>Every value, defaults filled in</summary><pre tabindex="0">${escaped(JSON.stringify(result.scenario, null, 2))}</pre></details></section>
</main>
<footer>pagevisor ${escaped(result.version)}, seed ${result.seed}, digest <code>${escaped(result.digest)}</code></footer>
<script type="application/json" id="series">${json}</script>
<script>${SCRIPT.replaceAll("</script", "<\\/script")}</script>
</body>
</html>
`;
}

function factsHtml(result: RunResult): string {
  const facts: [string, string][] = [
    ["Status", `${result.status} (${result.oom?.where ?? result.stoppedBy})`],
    ["Simulated", `${count(result.accesses)} accesses in ${formatNs(result.virtualTimeNs)}`],
    ["Host", `${formatBytes(result.scenario.host.memory)} of memory, ${swapText(result)}`],
    [
      "Guests",
      result.scenario.vms
        .map(
          ({ name, memory, vcpus }) =>
            `${name}: ${formatBytes(memory)}, ${vcpus} vCPU${vcpus === 1 ? "" : "s"}`,
        )
        .join("; "),
    ],
  ];
  const rows = facts.map(([name, text]) => `<dt>${escaped(name)}</dt><dd>${escaped(text)}</dd>`);
  return `<dl>${rows.join("")}</dl>`;
}

function swapText({ scenario }: RunResult): string {
  const devices = scenario.host.swap.map(({ name, size }) => `${formatBytes(size)} on ${name}`);
  return devices.length === 0 ? "no swap" : `swap ${devices.join(", ")}`;
}

const KIND_NAMES = { minor: "minor", major: "major", spurious: "spurious", writeProtect: "write-protect" };

function tablesHtml(result: RunResult): string {
  const { host, vms } = result;
  const pages = (value: number): string => formatBytes(value * 4096);
  return [
    tableHtml(
      "Guests",
      ["guest", "accesses", "accesses/s", "resident", "peak", "swapped", "untouched", "blocked", "stalled"],
      vms.map((vm) => [
        vm.name,
        count(vm.accesses),
        count(Math.round(vm.throughput)),
        pages(vm.memory.residentPages),
        pages(vm.memory.peakResidentPages),
        pages(vm.memory.swappedPages),
        pages(vm.memory.untouchedPages),
        formatNs(vm.vcpuBlockedNs),
        vm.virtualTimeNs > 0 ? `${((100 * vm.stall.someNs) / vm.virtualTimeNs).toFixed(1)}%` : "–",
      ]),
    ),
    tableHtml(
      "Faults",
      ["guest", "kind", "count", "mean", "p50", "p90", "p99", "p99.9", "max"],
      vms.flatMap((vm) =>
        FAULT_NAMES.filter((kind) => vm.faults[kind].count > 0).map((kind) => {
          const { latency, count: faults } = vm.faults[kind];
          const { mean, p50, p90, p99, p999, max } = latency;
          return [
            vm.name,
            KIND_NAMES[kind],
            count(faults),
            ...[mean, p50, p90, p99, p999, max].map(formatNs),
          ];
        }),
      ),
    ),
    tableHtml(
      "Where the time of faults went",
      [
        "guest",
        "kind",
        ...Object.keys(vms[0]?.faults.major.stages ?? {}).map((stage) => stage.replace(/Ns$/, "")),
      ],
      vms.flatMap((vm) =>
        FAULT_NAMES.filter((kind) => vm.faults[kind].count > 0).map((kind) => [
          vm.name,
          KIND_NAMES[kind],
          ...Object.values(vm.faults[kind].stages).map((ns: number) => (ns === 0 ? "–" : formatNs(ns))),
        ]),
      ),
    ),
    tableHtml(
      "Host",
      ["free", "least free", "swapped in", "swapped out", "slots used", "scanned", "by kswapd", "direct"],
      [
        [
          pages(host.memory.freePages),
          pages(host.memory.minFreePages),
          pages(host.swap.in),
          pages(host.swap.out),
          pages(host.swap.slotsUsed),
          count(host.reclaim.scanned),
          count(host.reclaim.reclaimedKswapd),
          count(host.reclaim.reclaimedDirect),
        ],
      ],
    ),
    tableHtml(
      "Swap devices",
      ["device", "reads", "writes", "busy", "longest queue"],
      host.devices.map(({ name, reads, writes, busyNs, queuePeak }) => [
        name,
        count(reads),
        count(writes),
        formatNs(busyNs),
        count(queuePeak),
      ]),
    ),
  ].join("\n");
}

function tableHtml(caption: string, heads: string[], rows: string[][]): string {
  if (rows.length === 0) return "";
  const head = heads.map((text) => `<th scope="col">${escaped(text)}</th>`).join("");
  const body = rows.map(
    ([first = "", ...cells]) =>
      `<tr><th scope="row">${escaped(first)}</th>${cells.map((cell) => `<td>${escaped(cell)}</td>`).join("")}</tr>`,
  );
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escaped(caption)}"><table><caption>${escaped(caption)}</caption><thead><tr>${head}</tr></thead><tbody>${body.join("")}</tbody></table></div>`;
}

function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
