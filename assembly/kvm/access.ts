import { spacePolicy } from "../mm/space";
import { actorClock, setActorClock } from "../sim/actor";
import { COST_MEM_DRAM_NS, cost } from "../sim/costs";
import { accessAhead } from "./ahead";
import { atOnceNs, faultAtOnce } from "./atonce";
import { pageFaultBegin } from "./fault";
import { pageFaultComplete, pageFaultEmulated } from "./faultend";
import { guestHandle, guestHandles } from "./guestfault";
import { spteSet } from "./leafbits";
import {
  ACCESS_END,
  ACCESS_FAULT,
  ACCESS_TIME,
  ACCESS_VIOLATION,
  accessOne,
  accessStop,
  setAccessStop,
  translates,
  walkNs,
} from "./oneaccess";
import { tableBits } from "./shadowpage";
import { spteAccessed, spteDirty } from "./spte";
import { VM_TLB_MISSES, vmCountAdd } from "./stats";
import {
  DIRECTORY,
  TLB_GENERATION,
  TLB_SET_MASK,
  TLB_TAGS,
  TLB_WAYS,
  vcpuFaultPending,
  vcpuVm,
} from "./vcpu";
import { vcpuAllows, vcpuKeeps, vcpuLeafNoted } from "./vcpuwalk";
import {
  vmAliases,
  vmExpected,
  vmFormat,
  vmGfnEnd,
  vmHuge,
  vmIsShadow,
  vmSpace,
  vmStats,
  vmTablePool,
} from "./vm";
import { watchedRun } from "./watched";

export {
  ACCESS_END,
  ACCESS_FAULT,
  ACCESS_TIME,
  ACCESS_VIOLATION,
  accessStop,
  setAccessStop,
} from "./oneaccess";

// A vCPU executes accesses of its current task: TLB, walk, accessed and dirty bits, until the stream ends, the time is up
// or an access faults. An access is a u32: bit 31 a write, bits 0..30 the page within the task's region.
//
// Three loops do the same: one for the common case (direct-mapped TLB, contents not checked, constant think time, no policy that sees
// every access), which keeps everything in locals, one for that with such a policy (watched.ts), and one for all cases. None makes a difference to
// the result, only to the speed.

const ACCESS_WALK: u32 = 4;

// Which of them missed the TLB in the last piece of accesses: MOST, SOME or FEW.
const MISSED: usize = 0;
// Accesses that the last piece has made.
const MADE: usize = 4;
const ACCESS: usize = memory.data(8, 8);

// Accesses between two looks at how many miss; 1 in 2^FEW_SHIFT are few.
const PIECE: u32 = 4096;
// With room for fewer accesses before the time is up, the loop looks at the clock.
const SHORT: u32 = 64;
const FEW_SHIFT: u32 = 4;
const MOST: u32 = 0;
const SOME: u32 = 1;
const FEW: u32 = 2;

/**
 * Executes up to `count` accesses that begin before `until`.
 * @param stream address of the next access
 * @param base first gfn of the task's region
 * @param force 1 << 31 to make every access a write, else 0
 * @param thinkNs CPU time of the guest beside each access, when `think` is 0
 * @param think address of one u32 an access: the CPU time beside it
 * @returns accesses completed; accessStop() tells why no more. After ACCESS_FAULT the vCPU is in its fault.
 */
export function accessRun(
  vcpu: usize,
  stream: usize,
  count: u32,
  base: u32,
  force: u32,
  thinkNs: u32,
  think: usize,
  until: u64,
): u32 {
  const vm = vcpuVm(vcpu);
  let done: u32 = 0;
  if (vcpuFaultPending(vcpu)) {
    done = retried(vcpu, vm, stream, base, force, thinkNs, think);
    if (done === 0 || accessStop() === ACCESS_VIOLATION) return done;
  }
  const simple = load<u32>(vcpu, TLB_WAYS) === 1 && vmExpected(vm) === 0 && think === 0;
  if (simple && spacePolicy(vmSpace(vm)) === 0) {
    return simply(vcpu, vm, stream, done, count, base, force, thinkNs, until);
  }
  if (simple && !vmIsShadow(vm) && vmAliases(vm) === 0) {
    return watchedRun(vcpu, vm, stream, done, count, base, force, thinkNs, until);
  }
  let longest = u64.MAX_VALUE;
  for (; done < count; done++) {
    if (actorClock(vcpu) >= until) {
      setAccessStop(ACCESS_TIME);
      return done;
    }
    const stop = accessOne(
      vcpu,
      vm,
      load<u32>(stream + ((<usize>done) << 2)) | force,
      base,
      thinkAt(think, done, thinkNs),
    );
    if (stop === ACCESS_END) continue;
    setAccessStop(stop);
    if (stop === ACCESS_VIOLATION) return done + 1;
    const at = stream + ((<usize>done) << 2);
    accessAhead(vcpu, vm, at, stream + ((<usize>count) << 2), base, force);
    if (longest === u64.MAX_VALUE) longest = atOnceNs(vcpu, vm);
    if (!faultAtOnce(vcpu, vm, longest)) return done;
    repeated(vcpu, vm, load<u32>(at) | force, base, thinkAt(think, done, thinkNs));
  }
  setAccessStop(ACCESS_END);
  return done;
}

function thinkAt(think: usize, index: u32, constant: u32): u32 {
  return think === 0 ? constant : load<u32>(think + ((<usize>index) << 2));
}

// Repeats the access that faulted, before anything else may happen on the vCPU. 0: it has faulted again. It may be the one that
// sees a violation.
function retried(
  vcpu: usize,
  vm: usize,
  stream: usize,
  base: u32,
  force: u32,
  thinkNs: u32,
  think: usize,
): u32 {
  const access = load<u32>(stream) | force;
  const gfn = base + (access & 0x7fffffff);
  if (guestHandles(vcpu) && !guestHandle(vcpu, gfn, access >> 31 !== 0)) {
    setAccessStop(ACCESS_FAULT);
    return 0;
  }
  if (pageFaultEmulated(vcpu)) {
    setActorClock(vcpu, actorClock(vcpu) + cost(COST_MEM_DRAM_NS) + thinkAt(think, 0, thinkNs));
    setAccessStop(ACCESS_END);
    return 1;
  }
  if (!translates(vcpu, gfn, access >> 31)) {
    pageFaultBegin(vcpu, gfn, access >> 31 !== 0);
    setAccessStop(ACCESS_FAULT);
    return 0;
  }
  const sound = pageFaultComplete(vcpu);
  let stop = accessOne(vcpu, vm, access, base, thinkAt(think, 0, thinkNs));
  assert(stop !== ACCESS_FAULT);
  if (!sound) stop = ACCESS_VIOLATION;
  setAccessStop(stop);
  return 1;
}

// Repeats the access whose fault is over, and has changed nothing that could be in its way.
function repeated(vcpu: usize, vm: usize, access: u32, base: u32, thinkNs: u32): void {
  const sound = pageFaultComplete(vcpu);
  const stop = accessOne(vcpu, vm, access, base, thinkNs);
  assert(sound && stop === ACCESS_END);
}

// The common case, from access `done` on, in pieces. Where an entry's bits must be set or a 2 MiB leaf looked for, the loop steps out: with
// a call in it, all its accesses would cost more. A piece that cannot reach `until` does not look at the clock; which form of the loop it
// takes is told by the misses of the piece before it.
function simply(
  vcpu: usize,
  vm: usize,
  stream: usize,
  done: u32,
  count: u32,
  base: u32,
  force: u32,
  thinkNs: u32,
  until: u64,
): u32 {
  const hitNs = <u64>(cost(COST_MEM_DRAM_NS) + thinkNs);
  const missNs = walkNs(vm, false);
  const slowest = max<u64>(hitNs + missNs, 1);
  let longest = u64.MAX_VALUE;
  while (done < count) {
    const clock = actorClock(vcpu);
    const at = stream + ((<usize>done) << 2);
    let piece = min<u32>(count - done, PIECE);
    let timed = clock >= until;
    if (!timed && until - clock < slowest * piece) {
      const room = <u32>((until - clock) / slowest);
      timed = room < SHORT;
      if (!timed) piece = room;
    }
    let stop: u32;
    if (timed) {
      stop = direct<Timed>(vcpu, vm, at, piece, base, force, hitNs, missNs, until);
    } else if (load<u32>(ACCESS, MISSED) === FEW) {
      stop = direct<Hits>(vcpu, vm, at, piece, base, force, hitNs, missNs, until);
    } else if (load<u32>(ACCESS, MISSED) === SOME && !vmHuge(vm)) {
      stop = direct<Mixed>(vcpu, vm, at, piece, base, force, hitNs, missNs, until);
    } else {
      stop = direct<Alike>(vcpu, vm, at, piece, base, force, hitNs, missNs, until);
    }
    const made = load<u32>(ACCESS, MADE);
    done += made;
    if (stop === ACCESS_WALK) {
      const access = load<u32>(at + ((<usize>made) << 2)) | force;
      if (walked(vcpu, vm, base + (access & 0x7fffffff), access >> 31)) continue;
      stop = accessOne(vcpu, vm, access, base, thinkNs);
      if (stop === ACCESS_END) done++;
    }
    setAccessStop(stop);
    if (stop === ACCESS_END) continue;
    if (stop !== ACCESS_FAULT) return done;
    const faulted = stream + ((<usize>done) << 2);
    accessAhead(vcpu, vm, faulted, stream + ((<usize>count) << 2), base, force);
    if (longest === u64.MAX_VALUE) longest = atOnceNs(vcpu, vm);
    if (!faultAtOnce(vcpu, vm, longest)) return done;
    repeated(vcpu, vm, load<u32>(faulted) | force, base, thinkNs);
    done++;
  }
  setAccessStop(ACCESS_END);
  return done;
}

// Sets the accessed bit of the 4 KiB leaf, and the dirty bit for a write; the loop repeats the access. False when there is no such leaf.
function walked(vcpu: usize, vm: usize, gfn: u32, write: u32): bool {
  const leaf = vcpuLeafNoted(vcpu, gfn);
  if (leaf === 0) return false;
  const spte = load<u64>(leaf);
  if (!vcpuKeeps(vcpu, spte) || !vcpuAllows(vcpu, spte, write !== 0)) return false;
  const format = vmFormat(vm);
  spteSet(vm, leaf, spte | spteAccessed(format) | (write ? spteDirty(format) : 0));
  return true;
}

// The forms of the loop, where the compiler needs a type.
type Timed = u8;
type Alike = u16;
type Mixed = u32;
type Hits = u64;

// The loop for a direct-mapped TLB. The dirty bit of an entry sits below its gfn, so that one addition decides whether an
// entry serves the access (tlb.ts): equal, or equal but for a dirty bit that a read does not need. Whether an entry of the tables needs a bit
// set is told by the two bits beside the tables (leafbits.ts).
//
// Compiled four times. `Timed` stops at `until`. `Timed` and `Alike` have a branch between hits and misses, which costs nothing while
// nearly all accesses do the same. When some hit and some miss, no processor can predict it: in `Mixed` both do the same work, and a hit keeps
// nothing of it. `Hits` asks of four accesses at once whether all hit; when one does not, these four go one by one. All come to the same.
// Measured: 1.8 to 1.9 times the accesses a second where all hit.
function direct<Form>(
  vcpu: usize,
  vm: usize,
  stream: usize,
  count: u32,
  base: u32,
  force: u32,
  hitNs: u64,
  missNs: u32,
  until: u64,
): u32 {
  const tags = <usize>load<u32>(vcpu, TLB_TAGS);
  const mask = load<u32>(vcpu, TLB_SET_MASK);
  const generation = (<u64>load<u32>(vcpu, TLB_GENERATION)) << 32;
  const directory = <usize>load<u32>(vcpu, DIRECTORY);
  const origin = tableBits(vmTablePool(vm));
  const gfnEnd = vmGfnEnd(vm);
  const end = stream + ((<usize>count) << 2);
  let clock = actorClock(vcpu);
  let misses: u32 = 0;
  let stop = ACCESS_END;
  let at = stream;
  let single = stream;
  while (at < end) {
    if (sizeof<Form>() === sizeof<Hits>() && at >= single) {
      const keys = generation + ((<u64>base) << 1);
      while (at + 16 <= end && fourHit(at, force, keys, tags, mask << 1)) at += 16;
      if (at >= end) break;
      single = at + 16;
    }
    if (sizeof<Form>() === sizeof<Timed>() && clock >= until) {
      stop = ACCESS_TIME;
      break;
    }
    const access = load<u32>(at) | force;
    const write = access >> 31;
    const gfn = base + (access & 0x7fffffff);
    const entry = tags + ((<usize>(gfn & mask)) << 3);
    const key = generation | ((<u64>gfn) << 1) | write;
    const tag = load<u64>(entry);
    const hit = (tag ^ key) + write < 2;
    if (sizeof<Form>() !== sizeof<Mixed>() && hit) {
      if (sizeof<Form>() === sizeof<Timed>()) clock += hitNs;
      at += 4;
      continue;
    }
    const table = gfn < gfnEnd ? <usize>load<u32>(directory + ((<usize>(gfn >> 9)) << 2)) : 0;
    const leaf = table + ((<usize>(gfn & 511)) << 3);
    const bits = table === 0 ? 0 : <u32>load<u8>(origin + (leaf >> 5)) >> ((gfn & 3) << 1);
    const serves =
      sizeof<Form>() === sizeof<Mixed>() ? ((bits >> write) & 1) | <u32>hit : (bits >> write) & 1;
    if (serves === 0) {
      stop = ACCESS_WALK;
      break;
    }
    const filled = generation | ((<u64>gfn) << 1) | <u64>((bits >> 1) & 1);
    store<u64>(entry, sizeof<Form>() === sizeof<Mixed>() ? select<u64>(tag, filled, hit) : filled);
    misses += sizeof<Form>() === sizeof<Mixed>() ? <u32>!hit : 1;
    if (sizeof<Form>() === sizeof<Timed>()) clock += hitNs + missNs;
    at += 4;
  }
  const made = <u32>((at - stream) >> 2);
  if (sizeof<Form>() !== sizeof<Timed>()) clock += hitNs * made + <u64>missNs * misses;
  setActorClock(vcpu, clock);
  vmCountAdd(vmStats(vm), VM_TLB_MISSES, misses);
  const few = made >> FEW_SHIFT;
  if (few !== 0) store<u32>(ACCESS, misses <= few ? FEW : made - misses > few ? SOME : MOST, MISSED);
  store<u32>(ACCESS, made, MADE);
  return stop;
}

// The four accesses at `at` hit: what differs of a tag, and the dirty bit that a read does not need, is below 2 for each, and so for all of
// them together. Rotated by one, an access stands as in a key: its page above the bit of a write.
function fourHit(at: usize, force: u32, keys: u64, tags: usize, mask: u32): bool {
  return (
    (difference(load<u32>(at), force, keys, tags, mask) |
      difference(load<u32>(at, 4), force, keys, tags, mask) |
      difference(load<u32>(at, 8), force, keys, tags, mask) |
      difference(load<u32>(at, 12), force, keys, tags, mask)) <
    2
  );
}

function difference(access: u32, force: u32, keys: u64, tags: usize, mask: u32): u64 {
  const word = rotl<u32>(access | force, 1);
  const key = keys + word;
  return (load<u64>(tags + ((<usize>(<u32>key & mask)) << 2)) ^ key) + (word & 1);
}
