// The bare kernels in C that say how fast this machine can do the same work with nothing around it. They come with their own streams of
// accesses; both are made once, in a folder of the build.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";

const BUILT = resolve(".out", "ceiling");
const MAX_OUTPUT = 2 ** 20;

/** What a kernel did, as its own line of JSON says. */
export interface KernelRun {
  ops: number;
  /** CPU time of the operations. */
  ns: number;
  miss: number;
  major: number;
  zero: number;
}

export interface KernelCall {
  kernel: string;
  /** Name of a stream, or undefined for a kernel that draws its own operations. */
  stream?: string;
  pages: number;
  ops: number;
  warm: number;
  frames?: number;
}

export class Kernels {
  private readonly binary: string;
  private readonly data: string;

  /** @param folder where the sources are: c/ceiling.c and gen.mjs. Needs gcc. */
  constructor(folder: string) {
    const source = join(folder, "c", "ceiling.c");
    if (!existsSync(source)) throw new Error(`--ceiling ${folder}: no c/ceiling.c there`);
    mkdirSync(BUILT, { recursive: true });
    this.binary = join(BUILT, "ceiling");
    this.data = join(BUILT, "data");
    if (!existsSync(this.binary) || statSync(this.binary).mtimeMs < statSync(source).mtimeMs) {
      execFileSync("gcc", ["-O3", "-march=native", "-o", this.binary, source]);
    }
    if (!existsSync(join(this.data, "seq_22.u32"))) {
      execFileSync(process.execPath, [join(folder, "gen.mjs"), this.data]);
    }
  }

  run({ kernel, stream, pages, ops, warm, frames }: KernelCall): KernelRun {
    const file = stream === undefined ? "-" : join(this.data, `${stream}.u32`);
    const args = [kernel, file, ...[pages, ops, warm, frames ?? 0].map(String)];
    const line = execFileSync(this.binary, args, { encoding: "utf8", maxBuffer: MAX_OUTPUT });
    return JSON.parse(line) as KernelRun;
  }

  /** The accesses of a stream as a trace has them: bit 31 a write, bits 0..30 the page. The kernels' bit 30, a second view, is dropped. */
  stream(name: string): Uint32Array {
    const bytes = readFileSync(join(this.data, `${name}.u32`));
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
    return words.map((word) => (word & 0xbfff_ffff) >>> 0);
  }
}
