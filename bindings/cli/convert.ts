// `pagevisor convert`: memory references that another program recorded, as a page trace. Reads and writes streams, so a recording of
// any length fits: what is kept is the pages seen so far.

import { accessSync, constants, createReadStream, createWriteStream, rmSync } from "node:fs";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";
import { PagevisorError } from "../errors.js";
import { type LineReader, lackeyLine, textLine } from "./convertline.js";
import { EXIT } from "./exit.js";
import { count } from "./numbers.js";
import { PageFilter } from "./pagefilter.js";
import type { Terminal } from "./terminal.js";

export interface ConvertFlags {
  from: "lackey" | "text";
  output: string;
  unit?: "address" | "page";
  filter?: number;
  pages?: string;
}

export const CONVERT_HELP = `\
lackey: what valgrind --tool=lackey --trace-mem=yes prints; instruction fetches are
left out, a modify is a write, an access across pages counts for each of them.
text: one address a line (--unit page: one page number), decimal or 0x…, then
optionally r or w; empty lines and lines that begin with # are left out.

The filter keeps a reference when its page is not among the N used last, or when it
is the first write to a page that came among them by a read: what a page-table
walker behind a small TLB sees. Pages are numbered in order of first appearance;
--pages writes the number that each had, little-endian u64.

Input may be compressed with gzip, - is standard input. Output is compressed where
its name ends in .gz.`;

/** References that `lackey` prints for one page in a row are many: its own filter is that of the traces that come with it. */
const LACKEY_FILTER = 16;
const WORDS = 16_384;
const PAGE_MAX = 2 ** 31;

/** @returns the exit code. Throws PagevisorError: `E_FILE`, with the line of the input where there is one. */
export async function convertCommand(
  input: string,
  flags: ConvertFlags,
  terminal: Terminal,
): Promise<number> {
  const unit = flags.unit ?? "address";
  if (flags.from === "lackey" && unit === "page") {
    throw new PagevisorError("E_USAGE", "--unit page: lackey prints addresses; --unit is for --from text");
  }
  const reader = flags.from === "lackey" ? lackeyLine : textLine(unit);
  const trace = new TraceWords(flags.filter ?? (flags.from === "lackey" ? LACKEY_FILTER : 0));
  const { signal } = terminal;
  mustBeReadable(input); // before an older output is emptied
  try {
    await writeFile(flags.output, wordsOf(input, reader, trace), signal);
    if (trace.words === 0) throw new PagevisorError("E_FILE", `${input}: no references in it`);
    if (flags.pages !== undefined) await writeFile(flags.pages, pageNumbers(trace), signal);
  } catch (error) {
    rmSync(flags.output, { force: true }); // part of a trace looks like a whole one
    if (signal.aborted) return EXIT.interrupted;
    throw error;
  }
  const { references, words, pages } = trace;
  const written = `${count(words)} of ${count(references)} references, ${count(pages.size)} pages`;
  terminal.err(`${flags.output}: ${written}; a guest needs at least ${pages.size * 4}KiB\n`);
  return EXIT.done;
}

function mustBeReadable(input: string): void {
  if (input === "-") return;
  try {
    accessSync(input, constants.R_OK);
  } catch (cause) {
    throw new PagevisorError("E_FILE", `cannot read "${input}": ${(cause as Error).message}`, { cause });
  }
}

/** Turns references into the words of a trace. */
class TraceWords {
  references = 0;
  words = 0;
  /** Number of each virtual page, in order of first appearance. */
  readonly pages = new Map<number, number>();
  readonly #filter: PageFilter;
  #buffer = new DataView(new ArrayBuffer(4 * WORDS));
  #used = 0;

  constructor(filterPages: number) {
    this.#filter = new PageFilter(filterPages);
  }

  add(page: number, write: boolean): void {
    this.references += 1;
    if (!this.#filter.keeps(page, write)) return;
    let id = this.pages.get(page);
    if (id === undefined) {
      id = this.pages.size;
      if (id === PAGE_MAX) throw new PagevisorError("E_FILE", `more than ${PAGE_MAX} different pages`);
      this.pages.set(page, id);
    }
    if (this.#used === this.#buffer.byteLength) this.#grow();
    this.#buffer.setUint32(this.#used, write ? (id | 0x8000_0000) >>> 0 : id, true);
    this.#used += 4;
    this.words += 1;
  }

  /** The bytes since the last call. */
  take(): Uint8Array {
    const bytes = new Uint8Array(this.#buffer.buffer.slice(0, this.#used));
    this.#used = 0;
    return bytes;
  }

  #grow(): void {
    const larger = new Uint8Array(2 * this.#buffer.byteLength);
    larger.set(new Uint8Array(this.#buffer.buffer));
    this.#buffer = new DataView(larger.buffer);
  }
}

async function* wordsOf(input: string, read: LineReader, trace: TraceWords): AsyncGenerator<Uint8Array> {
  let number = 0;
  const add = (page: number, write: boolean): void => trace.add(page, write);
  const take = (line: string): void => {
    number += 1;
    const wrong = read(line, add);
    if (wrong !== undefined) {
      const shown = JSON.stringify(line.length > 60 ? `${line.slice(0, 60)}…` : line);
      throw new PagevisorError("E_FILE", `${input}:${number}: ${shown}: ${wrong}`);
    }
  };
  let rest = "";
  for await (const text of textOf(input)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    if (rest.length > LINE_MAX)
      throw new PagevisorError("E_FILE", `${input}:${number + 1}: no end of the line`);
    for (const line of lines) take(line);
    yield trace.take();
  }
  if (rest !== "") take(rest);
  yield trace.take();
}

const LINE_MAX = 1 << 20;

/** The text of a file or of standard input, plain or gzip, in parts. */
async function* textOf(input: string): AsyncGenerator<string> {
  const source = input === "-" ? process.stdin : createReadStream(input);
  try {
    const chunks = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    const first = await chunks.next();
    if (first.done) return;
    const all = Readable.from(startingWith(first.value, chunks));
    const zipped = first.value[0] === 0x1f && first.value[1] === 0x8b;
    // Both ends are watched: an error of the source must reach who reads the result.
    const gunzip = createGunzip();
    const plain = zipped ? all.on("error", (error) => gunzip.destroy(error)).pipe(gunzip) : all;
    const decoder = new TextDecoder("latin1");
    for await (const chunk of plain) yield decoder.decode(chunk as Buffer, { stream: true });
  } catch (cause) {
    throw new PagevisorError("E_FILE", `cannot read "${input}": ${(cause as Error).message}`, { cause });
  } finally {
    source.destroy();
  }
}

async function* startingWith(first: Buffer, others: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  for (let next = await others.next(); !next.done; next = await others.next()) yield next.value;
}

async function* pageNumbers({ pages }: TraceWords): AsyncGenerator<Uint8Array> {
  const numbers = new BigUint64Array(pages.size);
  for (const [page, id] of pages) numbers[id] = BigInt(page);
  yield new Uint8Array(numbers.buffer);
}

async function writeFile(path: string, bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  const packed = path.endsWith(".gz")
    ? createGzip()
    : new Transform({ transform: (chunk, _, done) => done(null, chunk) });
  try {
    await pipeline(Readable.from(bytes), packed, createWriteStream(path), { signal });
  } catch (cause) {
    if (cause instanceof PagevisorError) throw cause;
    throw new PagevisorError("E_FILE", `cannot write "${path}": ${(cause as Error).message}`, { cause });
  }
}
