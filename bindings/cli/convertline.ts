// One line of a recording as references to pages. Page numbers of a 64-bit address space are below 2^52 and exact in a double.

/** Hands the references of `line` to `add`. Returns what is wrong with the line, if anything. */
export type LineReader = (line: string, add: (page: number, write: boolean) => void) => string | undefined;

const PAGE_BYTES = 4096;
const HEX_DIGITS_OF_OFFSET = 3;
/** A page number that fits 64-bit addresses. */
const PAGE_MAX = 2 ** 52;

const LACKEY = /^(I | [LSM]) ([0-9a-fA-F]{1,16}),(\d{1,6})\r?$/;
const LACKEY_ALLOWED =
  'not a line of lackey. Allowed: "I  ADDRESS,SIZE", " L ADDRESS,SIZE", " S …", " M …", and valgrind\'s own "==PID==" lines';

/** A line of `valgrind --tool=lackey --trace-mem=yes`; instruction fetches and valgrind's own messages hold no reference. */
export const lackeyLine: LineReader = (line, add) => {
  if (line === "" || line === "\r" || /^(==|--)\d+(==|--)/.test(line)) return undefined;
  const found = LACKEY.exec(line);
  if (found === null) return LACKEY_ALLOWED;
  const [, kind, address, size] = found as unknown as [string, string, string, string];
  if (kind === "I ") return undefined;
  const page = pageOfHex(address);
  const offset = Number.parseInt(address.slice(-HEX_DIGITS_OF_OFFSET), 16);
  const last = page + Math.floor((offset + Math.max(Number(size), 1) - 1) / PAGE_BYTES);
  for (let each = page; each <= last; each++) add(each, kind !== " L");
  return undefined;
};

const TEXT = /^\s*(?:0[xX]([0-9a-fA-F]{1,16})|(\d{1,20}))(?:[\s,]+([rRwW]))?\s*$/;

/** A line of text: an address or a page number, then optionally r or w; without one it is a read. */
export function textLine(unit: "address" | "page"): LineReader {
  return (line, add) => {
    if (/^\s*(#|$)/.test(line)) return undefined;
    const found = TEXT.exec(line);
    if (found === null)
      return `not a reference. Allowed: one ${unit} (decimal or 0x…), then optionally r or w`;
    const [, hex, decimal, kind = "r"] = found;
    const page = unit === "page" ? Number(hex === undefined ? decimal : `0x${hex}`) : pageOf(hex, decimal!);
    if (page >= PAGE_MAX)
      return `page ${page} is too large. Allowed: pages of 64-bit addresses, below ${PAGE_MAX}`;
    add(page, kind === "w" || kind === "W");
    return undefined;
  };
}

function pageOf(hex: string | undefined, decimal: string): number {
  return hex === undefined ? Number(BigInt(decimal) / BigInt(PAGE_BYTES)) : pageOfHex(hex);
}

function pageOfHex(address: string): number {
  return address.length <= HEX_DIGITS_OF_OFFSET
    ? 0
    : Number.parseInt(address.slice(0, -HEX_DIGITS_OF_OFFSET), 16);
}
