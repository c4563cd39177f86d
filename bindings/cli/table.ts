// Text in columns, without frames: what the page and the rows are set in. Left out: coloured cells.

import Table from "cli-table3";

/** Columns that no line of the page exceeds. */
export const WIDTH = 100;

const GAP = 2;
const NARROWEST = 8;
const NO_FRAME = {
  ...{ top: "", "top-mid": "", "top-left": "", "top-right": "" },
  ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
  ...{ left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "" },
};

export interface Column {
  head: string;
  align: "left" | "right";
}

/**
 * Sets `rows` under the heads of `columns`. The first column gives way (cut with "…", down to 8 characters) when
 * the table would be wider than {@link WIDTH}.
 *
 * @returns lines without trailing blanks, the heads first
 */
export function table(columns: Column[], rows: string[][]): string[] {
  const lines = setTable(columns, rows, null);
  const widest = Math.max(...lines.map((line) => line.length));
  if (widest <= WIDTH) return lines;

  const first = Math.max(columns[0]?.head.length ?? 0, ...rows.map((row) => row[0]?.length ?? 0));
  return setTable(columns, rows, Math.max(NARROWEST, first - (widest - WIDTH)));
}

/** `firstWidth` is the width of the first column, or null for as wide as its longest cell. */
function setTable(columns: Column[], rows: string[][], firstWidth: number | null): string[] {
  const text = new Table({
    chars: NO_FRAME,
    colAligns: columns.map((column) => column.align),
    colWidths: firstWidth === null ? [] : [firstWidth + GAP],
    style: { "padding-left": GAP, "padding-right": 0, head: [], border: [] },
    truncate: "…",
  });
  text.push(columns.map((column) => column.head));
  text.push(...rows);
  return text
    .toString()
    .split("\n")
    .map((line) => line.slice(GAP).trimEnd());
}

/** Breaks `text` between words into lines of at most `width` columns. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/).filter((part) => part !== "")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return line === "" ? lines : [...lines, line];
}
