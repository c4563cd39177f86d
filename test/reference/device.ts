// A swap device in virtual time: units that each serve one page at a time, behind one queue, first come, first served. Only so many
// requests can be with it at once; whoever has one more waits for a tag.

import type { ResolvedSwap } from "#dist/scenario.js";
import type { Actor, Timeline } from "./time.js";

const TAGS = 1023;

interface Request {
  write: boolean;
  /** @param start when a unit began with it */
  served: (time: number, start: number) => void;
}

export class Device {
  reads = 0;
  writes = 0;
  /** Actors that sleep until there is a tag for their request. */
  readonly tagWaiters: Actor[] = [];
  private busy = 0;
  private readonly queue: Request[] = [];

  constructor(
    private readonly figures: ResolvedSwap,
    private readonly timeline: Timeline,
  ) {}

  get hasTag(): boolean {
    return this.busy + this.queue.length < TAGS;
  }

  /** Reads and writes are CPU work of the caller. */
  get synchronous(): boolean {
    return this.figures.synchronous === true;
  }

  /** CPU ns of a synchronous device. */
  synchronousNs(write: boolean): number {
    this.count(write);
    return this.latency(write);
  }

  private count(write: boolean): void {
    if (write) this.writes++;
    else this.reads++;
  }

  private latency(write: boolean): number {
    return (write ? this.figures.writeNs : this.figures.readNs)!;
  }

  private transferNs(write: boolean): number {
    const bytesPerUs = write ? this.figures.writeBytesPerUs : this.figures.readBytesPerUs;
    return bytesPerUs === undefined ? 0 : Math.ceil((4096 * 1000) / bytesPerUs);
  }

  // A disk reorders its queue: 7.5 ms alone become 2.6 ms with 32 requests to choose from, along the logarithm.
  private serviceNs(write: boolean, choice: number): number {
    const latency = this.latency(write);
    if (this.figures.rotational !== true) return latency + this.transferNs(write);
    const doublings = Math.min(Math.floor(Math.log2(Math.max(choice, 1))), 5);
    return Math.floor((latency * 16) / (16 + 6 * doublings)) + this.transferNs(write);
  }

  submit(time: number, request: Request): void {
    if (this.busy < this.figures.servers!) this.serve(time, request, 0);
    else this.queue.push(request);
  }

  private serve(start: number, request: Request, choice: number): void {
    this.busy++;
    this.count(request.write);
    const end = start + this.serviceNs(request.write, choice);
    this.timeline.post(end, () => request.served(end, start));
  }

  /** A request has been served: its unit takes the next one. */
  complete(time: number): void {
    this.busy--;
    const choice = this.queue.length;
    const next = this.queue.shift();
    if (next !== undefined) this.serve(time, next, choice);
  }
}
