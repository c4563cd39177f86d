import { spaceReferenced } from "../mm/residency";
import { actorClock, setActorClock } from "../sim/actor";
import { COST_MEM_DRAM_NS, cost } from "../sim/costs";
import { accessAhead } from "./ahead";
import { atOnceNs, faultAtOnce } from "./atonce";
import { pageFaultBegin } from "./fault";
import { pageFaultComplete } from "./faultend";
import { memslotHolds, memslotIndex } from "./memslot";
import { memslotAt, memslotCount, memslotSearch } from "./memslots";
import {
  ACCESS_END,
  ACCESS_FAULT,
  ACCESS_TIME,
  accessOne,
  setAccessStop,
  translates,
  walkNs,
} from "./oneaccess";
import { tableBits } from "./shadowpage";
import { VM_TLB_MISSES, vmCountAdd } from "./stats";
import { DIRECTORY, TLB_GENERATION, TLB_SET_MASK, TLB_TAGS, vcpuVm } from "./vcpu";
import { vmGfnEnd, vmSlots, vmSpace, vmStats, vmTablePool } from "./vm";

// The loop of accesses of a guest whose pages an idealized policy sees, for a direct-mapped TLB, a constant think time and no aliases: as the loops of
// access.ts (direct), with a word to the policy after each access. Where an entry's bits must be set, or an access faults, it steps out.
//
// Measured: 1.24 to 1.33 times the accesses a second of a guest of 16 MiB that faults at every second or third one, together with marks of use that are
// not set twice (atonce.ts) and batches of pages that are passed over when empty (lrubatch.ts).

// Accesses that the last run() has made.
const MADE: usize = memory.data(8, 8);

/** Executes accesses `done`..`count`-1 of `stream`, as accessRun() does. Returns the accesses completed; accessStop() tells why no more. */
export function watchedRun(
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
  const end = stream + ((<usize>count) << 2);
  let longest = u64.MAX_VALUE;
  let repeats = false;
  while (done < count) {
    let at = stream + ((<usize>done) << 2);
    const timeUp = run(vcpu, at, count - done, base, force, hitNs, missNs, until, repeats);
    done += load<u32>(MADE);
    if (timeUp) {
      setAccessStop(ACCESS_TIME);
      return done;
    }
    if (done === count) break;
    at = stream + ((<usize>done) << 2);
    const access = load<u32>(at) | force;
    repeats = !translates(vcpu, base + (access & 0x7fffffff), access >> 31);
    if (!repeats) {
      const stop = accessOne(vcpu, vm, access, base, thinkNs);
      assert(stop === ACCESS_END);
      done++;
      continue;
    }
    pageFaultBegin(vcpu, base + (access & 0x7fffffff), access >> 31 !== 0);
    accessAhead(vcpu, vm, at, end, base);
    if (longest === u64.MAX_VALUE) longest = atOnceNs(vcpu, vm);
    if (!faultAtOnce(vcpu, vm, longest)) {
      setAccessStop(ACCESS_FAULT);
      return done;
    }
    const sound = pageFaultComplete(vcpu);
    assert(sound);
  }
  setAccessStop(ACCESS_END);
  return done;
}

// Executes up to `count` accesses that begin before `until`; the first one whatever the time, with `repeats`. True: the time is up. False: all were
// made, or the next one needs a walk; MADE tells.
function run(
  vcpu: usize,
  stream: usize,
  count: u32,
  base: u32,
  force: u32,
  hitNs: u64,
  missNs: u32,
  until: u64,
  repeats: bool,
): bool {
  const vm = vcpuVm(vcpu);
  const space = vmSpace(vm);
  const tags = <usize>load<u32>(vcpu, TLB_TAGS);
  const mask = load<u32>(vcpu, TLB_SET_MASK);
  const generation = (<u64>load<u32>(vcpu, TLB_GENERATION)) << 32;
  const directory = <usize>load<u32>(vcpu, DIRECTORY);
  const origin = tableBits(vmTablePool(vm));
  const gfnEnd = vmGfnEnd(vm);
  const end = stream + ((<usize>count) << 2);
  let slot = memslotCount(vmSlots(vm)) !== 0 ? memslotAt(vmSlots(vm), 0) : 0;
  let clock = actorClock(vcpu);
  let misses: u32 = 0;
  let timeUp = false;
  let at = stream;
  while (at < end) {
    if (clock >= until && !(repeats && at === stream)) {
      timeUp = true;
      break;
    }
    const access = load<u32>(at) | force;
    const write = access >> 31;
    const gfn = base + (access & 0x7fffffff);
    const entry = tags + ((<usize>(gfn & mask)) << 3);
    const key = generation | ((<u64>gfn) << 1) | write;
    if ((load<u64>(entry) ^ key) + write >= 2) {
      const table = gfn < gfnEnd ? <usize>load<u32>(directory + ((<usize>(gfn >> 9)) << 2)) : 0;
      const leaf = table + ((<usize>(gfn & 511)) << 3);
      const bits = table === 0 ? 0 : <u32>load<u8>(origin + (leaf >> 5)) >> ((gfn & 3) << 1);
      if (((bits >> write) & 1) === 0) break;
      store<u64>(entry, generation | ((<u64>gfn) << 1) | <u64>((bits >> 1) & 1));
      misses++;
      clock += missNs;
    }
    clock += hitNs;
    if (slot === 0 || !memslotHolds(slot, gfn)) slot = memslotSearch(vmSlots(vm), gfn);
    spaceReferenced(space, memslotIndex(slot, gfn), write !== 0);
    at += 4;
  }
  setActorClock(vcpu, clock);
  if (misses !== 0) vmCountAdd(vmStats(vm), VM_TLB_MISSES, misses);
  store<u32>(MADE, <u32>((at - stream) >> 2));
  return timeUp;
}
