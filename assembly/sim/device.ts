import { arenaReserve, PART_EVENTS } from "../memory/arena";
import { PAGE_BYTES, unitsFor } from "../memory/layout";
import { STAGE_QUEUE } from "./actor";
import { EVENT_IO, eventPost } from "./events";
import { rngAdvance, rngBelowThreshold, rngBits, rngSeed } from "./rng";
import { waitqueueSleep, waitqueueWakeOne } from "./waitqueue";

// A block device: `servers` units that each serve one 4 KiB request at a time, behind one queue, first come, first served.
// A device of compressed memory (synchronous) has no queue at all: its read and write are CPU work of the caller.
// Reads may be made to fail: each on its own, as a draw of the device's random numbers says; it takes as long as one that succeeds.
//
// record   0      4       8       12     16     20    24       28      32       36   40     48    56     64
//          +------+-------+-------+------+------+-----+--------+-------+--------+----+------+-----+------+-----------+
//          |readNs|writeNs|servers|readX |writeX|flags|inFlight|waiting|capacity|free|queue |tags |busyNs|reads … peak|
//          +------+-------+-------+------+------+-----+--------+-------+--------+----+------+-----+------+-----------+
// request  0     4        8       10    12     16      20   24
//          +-----+--------+-------+-----+------+-------+----+---------+
//          | next| device | write | cpu | pfn  | actor |slot| startNs |
//          +-----+--------+-------+-----+------+-------+----+---------+
//
// invariant: a request waits only while all units are busy
// invariant: inFlight + waiting + free requests === capacity (the block layer's tags); a submitter without a tag sleeps

const READ_NS: usize = 0;
const WRITE_NS: usize = 4;
const SERVERS: usize = 8;
const READ_TRANSFER_NS: usize = 12;
const WRITE_TRANSFER_NS: usize = 16;
const FLAGS: usize = 20;
const IN_FLIGHT: usize = 24;
const WAITING: usize = 28;
const CAPACITY: usize = 32;
const FREE: usize = 36;
const QUEUE_HEAD: usize = 40;
const QUEUE_TAIL: usize = 44;
const TAG_WAITERS: usize = 48;
const BUSY_NS: usize = 56;
const READS: usize = 64;
const WRITES: usize = 72;
const QUEUE_PEAK: usize = 80;
const READ_ERRORS: usize = 88; // u64
const ERROR_RANDOM: usize = 96; // u64
const ERROR_THRESHOLD: usize = 104; // of 2^26 reads
export const DEVICE_BYTES: usize = 112;

const REQUEST_NEXT: usize = 0;
const REQUEST_DEVICE: usize = 4;
const REQUEST_WRITE: usize = 8;
const REQUEST_CPU: usize = 10; // u16
const REQUEST_PFN: usize = 12;
const REQUEST_ACTOR: usize = 16;
const REQUEST_SLOT: usize = 20;
const REQUEST_START: usize = 24;
const REQUEST_BYTES: usize = 32;

/** Reads and writes are CPU work, there is no device time (zram, zswap). */
export const DEVICE_SYNCHRONOUS: u32 = 1;
/** One head that reorders its queue: a request is served faster the more of them wait. */
export const DEVICE_ROTATIONAL: u32 = 2;
/** Some reads fail: deviceErrors(). */
const DEVICE_FAULTY: u32 = 4;

// Streams of the run's random numbers, behind those of tasks and areas.
const ERROR_STREAM: u32 = 1 << 24;

// 1,023: the NVMe driver's default queue depth; beyond it a submitter waits for a tag.
const DEVICE_TAGS: u32 = 1023;

// The devices of docs/costs.md: readNs, writeNs, servers, read and write bandwidth in bytes/us (0: in the latency), flags.
const PRESETS: usize = memory.data<u32>([
  72000, 24000, 13, 830, 680, 0, 152000, 30000, 6, 520, 520, 0, 7500000, 5400000, 1, 113, 113, 2, 9000, 9000,
  8, 2200, 2200, 0, 1700, 7000, 1, 0, 0, 1, 1500, 7500, 1, 0, 0, 1, 8300, 20000, 1, 0, 0, 1, 10500, 38000, 1,
  0, 0, 1, 6000, 6000, 1, 0, 0, 1, 6000, 6000, 16, 5000, 5000, 0,
]);
export const DEVICE_NVME: u32 = 0;
export const DEVICE_SATA_SSD: u32 = 1;
export const DEVICE_HDD: u32 = 2;
export const DEVICE_OPTANE: u32 = 3;
export const DEVICE_ZRAM_LZ4: u32 = 4;
export const DEVICE_ZSWAP_LZ4: u32 = 5;
export const DEVICE_ZSWAP_ZSTD1: u32 = 6;
export const DEVICE_ZSWAP_ZSTD3: u32 = 7;
export const DEVICE_ZSWAP_LZO: u32 = 8;
export const DEVICE_REMOTE: u32 = 9;
export const DEVICE_KINDS: u32 = 10;

/** Number `field` of a preset: readNs, writeNs, servers, readBytesPerUs, writeBytesPerUs, flags. */
export function devicePreset(kind: u32, field: u32): u32 {
  assert(kind < DEVICE_KINDS && field < 6);
  return load<u32>(PRESETS + ((<usize>(kind * 6 + field)) << 2));
}

function transferNs(bytesPerUs: u32): u32 {
  return bytesPerUs === 0 ? 0 : <u32>unitsFor(<u64>PAGE_BYTES * 1000, bytesPerUs);
}

/** Sets up a device; times in ns, bandwidth in bytes/us (0: none counted). */
export function deviceInit(
  device: usize,
  readNs: u32,
  writeNs: u32,
  servers: u32,
  readBytesPerUs: u32,
  writeBytesPerUs: u32,
  flags: u32,
): void {
  store<u32>(device, readNs, READ_NS);
  store<u32>(device, writeNs, WRITE_NS);
  store<u32>(device, servers, SERVERS);
  store<u32>(device, transferNs(readBytesPerUs), READ_TRANSFER_NS);
  store<u32>(device, transferNs(writeBytesPerUs), WRITE_TRANSFER_NS);
  store<u32>(device, flags, FLAGS);
  store<u32>(device, flags & DEVICE_SYNCHRONOUS ? 0 : DEVICE_TAGS, CAPACITY);
}

/** Requests that can be in flight or queued at once; each may have an event pending. */
export function deviceCapacity(device: usize): u32 {
  return load<u32>(device, CAPACITY);
}

export function deviceLayout(device: usize): void {
  const capacity = load<u32>(device, CAPACITY);
  store<u32>(device, <u32>arenaReserve(PART_EVENTS, <u64>capacity * REQUEST_BYTES), FREE);
}

/** Links the free requests; after the arena is committed. */
export function deviceStart(device: usize): void {
  const capacity = load<u32>(device, CAPACITY);
  const base = <usize>load<u32>(device, FREE);
  if (capacity === 0) {
    store<u32>(device, 0, FREE);
    return;
  }
  for (let index: u32 = 0; index < capacity; index++) {
    const request = base + <usize>index * REQUEST_BYTES;
    store<u32>(request, index + 1 < capacity ? <u32>(request + REQUEST_BYTES) : 0, REQUEST_NEXT);
  }
}

export function deviceSynchronous(device: usize): bool {
  return (load<u32>(device, FLAGS) & DEVICE_SYNCHRONOUS) !== 0;
}

/** A synchronous device all of whose reads succeed. */
export function devicePlain(device: usize): bool {
  return (load<u32>(device, FLAGS) & (DEVICE_SYNCHRONOUS | DEVICE_FAULTY)) === DEVICE_SYNCHRONOUS;
}

/** From now on `threshold` of 2^26 reads fail; `number` tells the device from others of the run with this `seed`. */
export function deviceErrors(device: usize, threshold: u32, seed: u32, number: u32): void {
  const flags = load<u32>(device, FLAGS) & ~DEVICE_FAULTY;
  store<u32>(device, threshold === 0 ? flags : flags | DEVICE_FAULTY, FLAGS);
  store<u32>(device, threshold, ERROR_THRESHOLD);
  deviceReseed(device, seed, number);
}

/** Which reads fail follows another seed. */
export function deviceReseed(device: usize, seed: u32, number: u32): void {
  store<u64>(device, rngSeed(seed, ERROR_STREAM + number), ERROR_RANDOM);
}

/** A read has been served: has it failed? */
export function deviceReadFails(device: usize): bool {
  if ((load<u32>(device, FLAGS) & DEVICE_FAULTY) === 0) return false;
  const state = rngAdvance(load<u64>(device, ERROR_RANDOM));
  store<u64>(device, state, ERROR_RANDOM);
  if (!rngBelowThreshold(rngBits(state), load<u32>(device, ERROR_THRESHOLD))) return false;
  store<u64>(device, load<u64>(device, READ_ERRORS) + 1, READ_ERRORS);
  return true;
}

/** Reads that have failed. */
export function deviceReadErrors(device: usize): u64 {
  return load<u64>(device, READ_ERRORS);
}

/** One head that must travel (SWP_SOLIDSTATE is its opposite). */
export function deviceRotational(device: usize): bool {
  return (load<u32>(device, FLAGS) & DEVICE_ROTATIONAL) !== 0;
}

/** CPU ns that a synchronous device takes for a read or write. */
export function deviceSynchronousTakes(device: usize, write: bool): u32 {
  assert(deviceSynchronous(device));
  return write ? load<u32>(device, WRITE_NS) : load<u32>(device, READ_NS);
}

/** The same for a read or write that is made now; counts it. */
export function deviceSynchronousNs(device: usize, write: bool): u32 {
  const ns = deviceSynchronousTakes(device, write);
  count(device, write, ns);
  return ns;
}

function count(device: usize, write: bool, ns: u64): void {
  if (write) store<u64>(device, load<u64>(device, WRITES) + 1, WRITES);
  else store<u64>(device, load<u64>(device, READS) + 1, READS);
  store<u64>(device, load<u64>(device, BUSY_NS) + ns, BUSY_NS);
}

// A disk that may pick among `queued` requests: 7.5 ms alone, 2.6 ms with 32 queued (docs/costs.md), along the logarithm.
function serviceNs(device: usize, write: bool): u64 {
  const latency = <u64>(write ? load<u32>(device, WRITE_NS) : load<u32>(device, READ_NS));
  const transfer = <u64>(write ? load<u32>(device, WRITE_TRANSFER_NS) : load<u32>(device, READ_TRANSFER_NS));
  if ((load<u32>(device, FLAGS) & DEVICE_ROTATIONAL) === 0) return latency + transfer;
  const queued = max<u32>(load<u32>(device, WAITING), 1);
  const doublings: u64 = min<u64>(31 - clz(queued), 5);
  return (latency * 16) / (16 + 6 * doublings) + transfer;
}

function serve(device: usize, request: usize, time: u64): void {
  const write = load<u16>(request, REQUEST_WRITE) !== 0;
  const ns = serviceNs(device, write);
  store<u32>(device, load<u32>(device, IN_FLIGHT) + 1, IN_FLIGHT);
  store<u64>(request, time, REQUEST_START);
  count(device, write, ns);
  eventPost(time + ns, EVENT_IO, <u32>request);
}

/**
 * Submits the transfer of frame `pfn` at `time` on `cpu`, where it will be completed. `actor` waits for a read, 0 for a write
 * nobody waits for.
 * @returns false when no tag is free: the submitter sleeps in deviceWaitTag() and tries again.
 */
export function deviceSubmit(
  device: usize,
  write: bool,
  pfn: u32,
  slot: u32,
  actor: usize,
  cpu: u32,
  time: u64,
): bool {
  const request = <usize>load<u32>(device, FREE);
  if (request === 0) return false;
  store<u32>(device, load<u32>(request, REQUEST_NEXT), FREE);
  store<u32>(request, 0, REQUEST_NEXT);
  store<u32>(request, <u32>device, REQUEST_DEVICE);
  store<u16>(request, write ? 1 : 0, REQUEST_WRITE);
  store<u16>(request, <u16>cpu, REQUEST_CPU);
  store<u32>(request, pfn, REQUEST_PFN);
  store<u32>(request, <u32>actor, REQUEST_ACTOR);
  store<u32>(request, slot, REQUEST_SLOT);

  if (load<u32>(device, IN_FLIGHT) < load<u32>(device, SERVERS)) {
    serve(device, request, time);
  } else {
    const tail = <usize>load<u32>(device, QUEUE_TAIL);
    if (tail === 0) store<u32>(device, <u32>request, QUEUE_HEAD);
    else store<u32>(tail, <u32>request, REQUEST_NEXT);
    store<u32>(device, <u32>request, QUEUE_TAIL);
    store<u32>(device, load<u32>(device, WAITING) + 1, WAITING);
  }
  const outstanding = load<u32>(device, IN_FLIGHT) + load<u32>(device, WAITING);
  if (outstanding > load<u32>(device, QUEUE_PEAK)) store<u32>(device, outstanding, QUEUE_PEAK);
  return true;
}

/** The actor sleeps until a tag may be free. */
export function deviceWaitTag(device: usize, actor: usize): void {
  waitqueueSleep(device + TAG_WAITERS, actor, STAGE_QUEUE);
}

/** Ends `request` at `time`: its unit takes the next one, its tag is free. Read the request's fields before. */
export function deviceComplete(request: usize, time: u64): void {
  const device = <usize>load<u32>(request, REQUEST_DEVICE);
  store<u32>(device, load<u32>(device, IN_FLIGHT) - 1, IN_FLIGHT);
  store<u32>(request, load<u32>(device, FREE), REQUEST_NEXT);
  store<u32>(device, <u32>request, FREE);

  const next = <usize>load<u32>(device, QUEUE_HEAD);
  if (next !== 0) {
    const after = load<u32>(next, REQUEST_NEXT);
    store<u32>(device, after, QUEUE_HEAD);
    if (after === 0) store<u32>(device, 0, QUEUE_TAIL);
    serve(device, next, time);
    store<u32>(device, load<u32>(device, WAITING) - 1, WAITING);
  }
  waitqueueWakeOne(device + TAG_WAITERS, time);
}

export function requestWrite(request: usize): bool {
  return load<u16>(request, REQUEST_WRITE) !== 0;
}

export function requestDevice(request: usize): usize {
  return <usize>load<u32>(request, REQUEST_DEVICE);
}

export function requestPfn(request: usize): u32 {
  return load<u32>(request, REQUEST_PFN);
}

/** The CPU that submitted the request and takes the interrupt at its end. */
export function requestCpu(request: usize): u32 {
  return load<u16>(request, REQUEST_CPU);
}

export function requestSlot(request: usize): u32 {
  return load<u32>(request, REQUEST_SLOT);
}

export function requestActor(request: usize): usize {
  return <usize>load<u32>(request, REQUEST_ACTOR);
}

/** Time at which a unit began to serve the request. */
export function requestStart(request: usize): u64 {
  return load<u64>(request, REQUEST_START);
}

export function deviceReads(device: usize): u64 {
  return load<u64>(device, READS);
}

export function deviceWrites(device: usize): u64 {
  return load<u64>(device, WRITES);
}

export function deviceBusyNs(device: usize): u64 {
  return load<u64>(device, BUSY_NS);
}

export function deviceQueuePeak(device: usize): u32 {
  return load<u32>(device, QUEUE_PEAK);
}

export function checkDevice(device: usize): void {
  let unused: u32 = 0;
  for (let at = <usize>load<u32>(device, FREE); at !== 0; at = <usize>load<u32>(at, REQUEST_NEXT)) unused++;
  let queued: u32 = 0;
  for (let at = <usize>load<u32>(device, QUEUE_HEAD); at !== 0; at = <usize>load<u32>(at, REQUEST_NEXT))
    queued++;
  assert(queued === load<u32>(device, WAITING));
  assert(queued === 0 || load<u32>(device, IN_FLIGHT) === load<u32>(device, SERVERS));
  assert(unused + queued + load<u32>(device, IN_FLIGHT) === load<u32>(device, CAPACITY));
}
