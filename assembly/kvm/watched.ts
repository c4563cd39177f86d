import { ptePresent } from "../mm/pte";
import { spaceReferenced } from "../mm/residency";
import { spacePolicy, spacePte } from "../mm/space";
import { Policy, RESIDENT } from "../policy/policy";
import { policyEnter, policyHitState } from "../policy/registry";
import { actorClock, setActorClock } from "../sim/actor";
import { COST_MEM_DRAM_NS, cost } from "../sim/costs";
import { accessAhead, aheadHelps, victimsAhead } from "./ahead";
import { atOnceNs, faultAtOnce } from "./atonce";
import { EXCHANGE_DONE, EXCHANGE_STEPS, exchange, exchangeReuse } from "./exchange";
import { exchangeSlot, exchangesBegin, exchangesEnd, exchangesGoOn, exchangesPause } from "./exchanges";
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
import { DIRECTORY, TLB_GENERATION, TLB_SET_MASK, TLB_TAGS, vcpuMemslot, vcpuVm } from "./vcpu";
import { vmGfnEnd, vmSlots, vmSpace, vmStats, vmTablePool } from "./vm";

// The loop of accesses of a guest whose pages an idealized policy sees, for a direct-mapped TLB, a constant think time and no aliases: as the loops of
// access.ts (direct), with a word to the policy after each access. Faults that exchange pages, and writes to such pages, are gone through within it. Where an entry's bits must be set, or
// an access faults in another way, it steps out.
//
// Measured: 1.24 to 1.33 times the accesses a second of a guest of 16 MiB that faults at every second or third one, together with marks of use that are
// not set twice (atonce.ts) and batches of pages that are passed over when empty (lrubatch.ts).

/** What ended run(): */
const RUN_ALL: u32 = 0;
const RUN_TIME: u32 = 1;
/** The next access needs a walk, or faults. */
const RUN_WALK: u32 = 2;
/** The next access has faulted, and its fault goes on by steps. */
const RUN_STEPS: u32 = 3;

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
  let longest: u64 = 0;
  let asked = false;
  let repeats = false;
  let exchanges = false;
  while (done < count) {
    let at = stream + ((<usize>done) << 2);
    const stop = run(vcpu, at, count - done, base, force, hitNs, missNs, until, repeats, exchanges);
    done += load<u32>(MADE);
    if (stop === RUN_ALL) break;
    if (stop !== RUN_WALK) {
      exchangesEnd(vcpu, vm);
      setAccessStop(stop === RUN_TIME ? ACCESS_TIME : ACCESS_FAULT);
      return done;
    }
    at = stream + ((<usize>done) << 2);
    const access = load<u32>(at) | force;
    const gfn = base + (access & 0x7fffffff);
    repeats = !translates(vcpu, gfn, access >> 31);
    if (!repeats) {
      const stop = accessOne(vcpu, vm, access, base, thinkNs);
      assert(stop === ACCESS_END);
      done++;
      continue;
    }
    const there = exchanges && hostMaps(vcpu, gfn);
    if (there) exchangesPause(vcpu);
    else exchangesEnd(vcpu, vm);
    pageFaultBegin(vcpu, gfn, access >> 31 !== 0);
    accessAhead(vcpu, vm, at, end, base, force);
    if (!asked) longest = atOnceNs(vcpu, vm);
    asked = true;
    if (!faultAtOnce(vcpu, vm, longest)) {
      exchangesEnd(vcpu, vm);
      setAccessStop(ACCESS_FAULT);
      return done;
    }
    const sound = pageFaultComplete(vcpu);
    assert(sound);
    if (!there) exchanges = exchangesBegin(vcpu, vm, longest);
    else if (!exchangesGoOn(vcpu, vm)) {
      exchangesEnd(vcpu, vm);
      exchanges = false;
    }
  }
  exchangesEnd(vcpu, vm);
  setAccessStop(ACCESS_END);
  return done;
}

// The host maps the page behind `gfn`.
function hostMaps(vcpu: usize, gfn: u32): bool {
  const slot = vcpuMemslot(vcpu, gfn);
  return exchangeSlot(slot) && ptePresent(spacePte(vmSpace(vcpuVm(vcpu)), memslotIndex(slot, gfn)));
}

// Executes up to `count` accesses that begin before `until`; the first one whatever the time, with `repeats`. Faults as of exchange.ts are gone through
// where they can be (exchangesBegin()). Returns RUN_*; MADE tells how many were made.
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
  exchanges: bool,
): u32 {
  const vm = vcpuVm(vcpu);
  const space = vmSpace(vm);
  const tags = <usize>load<u32>(vcpu, TLB_TAGS);
  const mask = load<u32>(vcpu, TLB_SET_MASK);
  const directory = <usize>load<u32>(vcpu, DIRECTORY);
  const origin = tableBits(vmTablePool(vm));
  const gfnEnd = vmGfnEnd(vm);
  const policy = changetype<Policy>(spacePolicy(space));
  const states = policy.states;
  const hit = policyHitState(policy.kind);
  const end = stream + ((<usize>count) << 2);
  const large = aheadHelps(vm);
  let generation = (<u64>load<u32>(vcpu, TLB_GENERATION)) << 32;
  let slot = memslotCount(vmSlots(vm)) !== 0 ? memslotAt(vmSlots(vm), 0) : 0;
  let plain = exchangeSlot(slot);
  let clock = actorClock(vcpu);
  let misses: u32 = 0;
  let stop = RUN_ALL;
  let at = stream;
  while (at < end) {
    if (clock >= until && !(repeats && at === stream)) {
      stop = RUN_TIME;
      break;
    }
    const access = load<u32>(at) | force;
    const write = access >> 31;
    const gfn = base + (access & 0x7fffffff);
    let came = false;
    const entry = tags + ((<usize>(gfn & mask)) << 3);
    if (slot === 0 || !memslotHolds(slot, gfn)) {
      slot = memslotSearch(vmSlots(vm), gfn);
      plain = exchangeSlot(slot);
    }
    if ((load<u64>(entry) ^ (generation | ((<u64>gfn) << 1) | write)) + write >= 2) {
      const table = gfn < gfnEnd ? <usize>load<u32>(directory + ((<usize>(gfn >> 9)) << 2)) : 0;
      const leaf = table + ((<usize>(gfn & 511)) << 3);
      const shift = (gfn & 3) << 1;
      let bits = table === 0 ? 0 : <u32>load<u8>(origin + (leaf >> 5)) >> shift;
      if (((bits >> write) & 1) === 0) {
        stop = RUN_WALK;
        if (!exchanges || table === 0 || !plain) break;
        setActorClock(vcpu, clock);
        const index = memslotIndex(slot, gfn);
        if ((bits & 1) !== 0) {
          if (exchangeReuse(vcpu, vm, leaf, gfn, index) !== EXCHANGE_DONE) break;
          clock = actorClock(vcpu);
          bits = 3;
        } else {
          if (large) {
            accessAhead(vcpu, vm, at, end, base, force);
            victimsAhead(vm, slot);
          }
          const outcome = exchange(vcpu, vm, leaf, gfn, index, write !== 0);
          clock = actorClock(vcpu);
          if (outcome === EXCHANGE_STEPS) stop = RUN_STEPS;
          if (outcome !== EXCHANGE_DONE) break;
          generation = (<u64>load<u32>(vcpu, TLB_GENERATION)) << 32;
          bits = <u32>load<u8>(origin + (leaf >> 5)) >> shift;
          came = hit !== 0;
        }
        stop = RUN_ALL;
      }
      store<u64>(entry, generation | ((<u64>gfn) << 1) | <u64>((bits >> 1) & 1));
      misses++;
      clock += missNs;
    }
    clock += hitNs;
    const index = memslotIndex(slot, gfn);
    if (came) policyEnter(policy, index);
    else if (hit !== 0 && (load<u8>(states + index) & RESIDENT) !== 0) store<u8>(states + index, hit);
    else spaceReferenced(space, index, write !== 0);
    at += 4;
  }
  setActorClock(vcpu, clock);
  if (misses !== 0) vmCountAdd(vmStats(vm), VM_TLB_MISSES, misses);
  store<u32>(MADE, <u32>((at - stream) >> 2));
  return stop;
}
