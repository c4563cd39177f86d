// `pagevisor curve`: miss ratios of policies over sizes of memory, as a table, as JSON or as CSV.

import { type CurveResult, curveOf } from "../curve.js";
import { PagevisorError } from "../errors.js";
import { parseTrace } from "../files.js";
import { readNodeFile } from "../nodefiles.js";
import type { PolicyName } from "../policynames.js";
import { formatBytes } from "../units.js";
import { EXIT } from "./exit.js";
import { count } from "./numbers.js";
import { progressOn } from "./progress.js";
import { table } from "./table.js";
import type { Colors, Terminal } from "./terminal.js";

/** What commander makes of the options. */
export interface CurveFlags {
  policy?: string[];
  sizes?: string[];
  json?: boolean;
  csv?: boolean;
}

/** For the command's help. */
export const CURVE_HELP = `\
Memory starts empty, every page enters on demand, and the first touch of a page
is a miss. Policies: lru, fifo, clock, sieve, s3fifo, arc, 2q, lfu, and belady,
the optimum, which knows the future. Without --policy all of them; without
--sizes from 1% to 100% of the trace's different pages.

A line of --csv: policy, pages, bytes, percent (of the trace's different pages),
references, misses, missRatio. Ctrl-C prints the policies that are done.`;

/** Draws the curves of the file `trace`. Returns the exit code. Throws `E_FILE`, `E_USAGE`. */
export async function curveCommand(trace: string, flags: CurveFlags, terminal: Terminal): Promise<number> {
  if (flags.json && flags.csv)
    throw new PagevisorError("E_USAGE", "--json and --csv exclude each other: leave out one of them");
  const bytes = readNodeFile(
    trace,
    undefined,
    (wrong, cause) => new PagevisorError("E_FILE", wrong, { cause }),
  );
  const parsed = await parseTrace(bytes, trace);
  const progress = progressOn(terminal.bar);
  progress.begin("curve");
  let result: CurveResult;
  try {
    result = await curveOf(parsed, {
      signal: terminal.signal,
      onProgress: (done, all) => progress.update({ accesses: done, virtualTimeNs: 0, share: done / all }),
      // Names are checked there.
      ...(flags.policy !== undefined && { policies: flags.policy as PolicyName[] }),
      ...(flags.sizes !== undefined && { sizes: flags.sizes }),
    });
  } finally {
    progress.end();
  }
  if (flags.json) terminal.out(`${JSON.stringify(result, null, 2)}\n`);
  else terminal.out(flags.csv ? curveCsv(result) : curveText(trace, result, terminal.colors));
  return result.status === "interrupted" ? EXIT.interrupted : EXIT.done;
}

/** A line for each policy and size, under a line of names. */
export function curveCsv({ trace, sizes, curves }: CurveResult): string {
  const lines = curves.flatMap(({ policy, misses, missRatio }) =>
    sizes.map(({ pages, bytes, percent }, index) =>
      [policy, pages, bytes, percent, trace.references, misses[index], missRatio[index]].join(","),
    ),
  );
  return `${["policy,pages,bytes,percent,references,misses,missRatio", ...lines].join("\n")}\n`;
}

/** A row for each size, a column for each policy. */
export function curveText(label: string, { trace, sizes, curves }: CurveResult, colors: Colors): string {
  const { references, writes, pages } = trace;
  const head =
    `${colors.bold(label)}: ${count(references)} references, ${percentage(writes / references)} of them writes, ` +
    `to ${count(pages)} pages (${formatBytes(pages * 4096)})`;
  const columns = [
    { head: "memory", align: "right" as const },
    { head: "pages", align: "right" as const },
    { head: "share", align: "right" as const },
    ...curves.map(({ policy }) => ({ head: policy, align: "right" as const })),
  ];
  const rows = sizes.map(({ pages, bytes, percent }, index) => [
    formatBytes(bytes),
    count(pages),
    `${Number(percent.toFixed(1))}%`,
    ...curves.map(({ missRatio }) => percentage(missRatio[index]!)),
  ]);
  return `${[head, "", "Misses, of all references:", ...table(columns, rows)].join("\n")}\n`;
}

/** A share in percent with three digits, `100%` to `0.05%`. */
function percentage(share: number): string {
  const percent = 100 * share;
  return `${percent >= 99.95 ? percent.toFixed(0) : percent >= 9.995 ? percent.toFixed(1) : percent.toFixed(2)}%`;
}
