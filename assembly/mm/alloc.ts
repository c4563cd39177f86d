import { PFN_NONE } from "../memory/layout";
import { STEP_DONE, STEP_OOM } from "../memory/status";
import { actorClock, actorCpu } from "../sim/actor";
import { emit, TRACE_MM_PAGE_ALLOC } from "../sim/trace";
import { ALLOC_LIMITED, ALLOC_MEMCG, ALLOC_PC, ALLOC_PFN, ALLOC_RETRIES, ALLOC_TABLE } from "./context";
import { pageFree, tableFree } from "./free";
import { GFP_TABLE_PAGE, GFP_USER_PAGE, gfpMigratetype } from "./gfp";
import { idealizedBegin, idealizedProgress, idealizedStep } from "./idealized";
import { mmWriteback } from "./instance";
import { kswapdWake } from "./kswapd";
import { memcgChargesTables, memcgMax, memcgUsage, setMemcgUsage } from "./memcg";
import { memcgEvents } from "./memcgstat";
import { PG_ACCOUNT, PG_TABLE, pageOf, pageSet, setPageFlags, setPageMaps, setPageOwner } from "./page";
import {
  allocPagesNoReclaim,
  drainAllPages,
  fastFlags,
  pageFromFreelist,
  slowFlags,
  takeBoostFlag,
} from "./pagealloc";
import { PSI_RECLAIM, psiMemstall } from "./psi";
import { RECLAIM_RETRIES, reclaimBegin, reclaimProgress, reclaimStep } from "./reclaim";
import { RECLAIM_BATCH } from "./shrink";
import { spaceId, spaceMemcg } from "./space";
import { stocksDrain, tryCharge } from "./stock";
import { swapCpus } from "./swapstate";

// Allocation of one page as a fault does it: __alloc_pages() with its watermarks, kswapd and direct reclaim, then the
// charge to the cgroup (try_charge_memcg()) with its own reclaim. A machine of steps, because both may reclaim.

const ZONE: u32 = 0;
const ZONE_RECLAIM: u32 = 1;
const CHARGE: u32 = 2;
const CHARGE_RECLAIM: u32 = 3;
const ZONE_RECLAIMED: u32 = 4;
const CHARGE_IDEALIZED: u32 = 5;

// How far a charge has come that met the limit: a batch was refused; its cgroup was reclaimed from; the stocks were drained.
const AT_LIMIT: u32 = 1;
const RECLAIMED: u32 = 2;
const DRAINED: u32 = 4;

// What the frame is for.
const NO_TABLE: u32 = 0;
const PROCESS_TABLE: u32 = 1;
const KVM_TABLE: u32 = 2;
const TARGET: u32 = 3;

/** Starts the allocation of a page for the process of `space`. */
export function allocBegin(actor: usize, space: usize): void {
  begin(actor, space, NO_TABLE);
}

/** Starts the allocation of a frame for a page table, perhaps of KVM's: unmovable, and charged where the cgroup says so. */
export function allocTableBegin(actor: usize, space: usize, kvm: bool): void {
  begin(actor, space, kvm ? KVM_TABLE : PROCESS_TABLE);
}

/**
 * Starts the allocation of a frame that a page of the process is to move to: the charge moves with the page. It may fail
 * (__GFP_RETRY_MAYFAIL): allocated() is PFN_NONE then.
 */
export function allocTargetBegin(actor: usize, space: usize): void {
  begin(actor, space, TARGET);
}

function begin(actor: usize, space: usize, table: u32): void {
  store<u32>(actor, table, ALLOC_TABLE);
  store<u32>(actor, ZONE, ALLOC_PC);
  store<u32>(actor, 0, ALLOC_RETRIES);
  store<u32>(actor, <u32>space, ALLOC_MEMCG);
}

/** The frame; after allocStep() has returned STEP_DONE. It has one reference, no flags, and its owner is the space. */
export function allocated(actor: usize): u32 {
  return load<u32>(actor, ALLOC_PFN);
}

/** Goes on with an allocation. Returns STEP_*; STEP_OOM leaves nothing allocated. */
export function allocStep(mm: usize, actor: usize): i32 {
  while (true) {
    const pc = load<u32>(actor, ALLOC_PC);
    if (pc === ZONE || pc === ZONE_RECLAIMED) {
      if (!takeFrame(mm, actor, pc === ZONE_RECLAIMED)) {
        if (giveUp(mm, actor)) {
          if (!isTarget(actor)) return STEP_OOM;
          store<u32>(actor, PFN_NONE, ALLOC_PFN);
          return STEP_DONE;
        }
        psiMemstall(actor, PSI_RECLAIM, true);
        reclaimBegin(mm, actor, 0, RECLAIM_BATCH);
        store<u32>(actor, ZONE_RECLAIM, ALLOC_PC);
      } else if (isTarget(actor)) {
        return STEP_DONE;
      } else if (isTable(actor) && !charged(actor)) {
        return STEP_DONE;
      } else {
        store<u32>(actor, 0, ALLOC_RETRIES);
        store<u32>(actor, 0, ALLOC_LIMITED);
        store<u32>(actor, CHARGE, ALLOC_PC);
      }
    } else if (pc === CHARGE) {
      const space = <usize>load<u32>(actor, ALLOC_MEMCG);
      const memcg = spaceMemcg(space);
      if (tryCharge(mm, actorCpu(actor), space, load<u32>(actor, ALLOC_LIMITED) !== 0)) {
        if (isTable(actor)) pageSet(pageOf(mm, load<u32>(actor, ALLOC_PFN)), PG_ACCOUNT);
        memcgEvents(mm, actorCpu(actor), isTable(actor) ? 2 : 1); // PGPGIN, or NR_PAGETABLE and MEMCG_KMEM
        return STEP_DONE;
      }
      const limited = load<u32>(actor, ALLOC_LIMITED);
      store<u32>(actor, limited | AT_LIMIT, ALLOC_LIMITED);
      if ((limited & RECLAIMED) !== 0 && (limited & DRAINED) === 0 && memcgUsage(memcg) >= memcgMax(memcg)) {
        stocksDrain(mm, swapCpus(mm), space);
        store<u32>(actor, limited | DRAINED, ALLOC_LIMITED);
        continue;
      }
      if (giveUp(mm, actor)) {
        if (isTable(actor)) {
          tableFree(mm, load<u32>(actor, ALLOC_PFN), actor);
        } else {
          setMemcgUsage(memcg, memcgUsage(memcg) + 1); // freeing returns a charge
          pageFree(mm, load<u32>(actor, ALLOC_PFN), actor);
        }
        return STEP_OOM;
      }
      psiMemstall(actor, PSI_RECLAIM, true);
      const idealized = idealizedBegin(actor, space);
      if (!idealized) reclaimBegin(mm, actor, space, RECLAIM_BATCH);
      store<u32>(actor, AT_LIMIT | RECLAIMED | (limited & DRAINED), ALLOC_LIMITED);
      store<u32>(actor, idealized ? CHARGE_IDEALIZED : CHARGE_RECLAIM, ALLOC_PC);
    } else {
      const idealized = pc === CHARGE_IDEALIZED;
      const step = idealized ? idealizedStep(mm, actor) : reclaimStep(mm, actor);
      if (step !== STEP_DONE) return step;
      psiMemstall(actor, PSI_RECLAIM, false);
      const progress = idealized ? idealizedProgress(actor) : reclaimProgress(actor);
      const retries = progress !== 0 ? 0 : load<u32>(actor, ALLOC_RETRIES) + 1;
      store<u32>(actor, retries, ALLOC_RETRIES);
      store<u32>(actor, pc === ZONE_RECLAIM ? ZONE_RECLAIMED : CHARGE, ALLOC_PC);
    }
  }
}

/**
 * The allocation of a page for the process of `space` has come to where `pfn` is taken and its cgroup, which is at its limit, is to lose the page that
 * an idealized policy has chosen: atonce.ts has come so far, allocStep() goes on.
 */
export function allocAtChoice(actor: usize, space: usize, pfn: u32): void {
  allocBegin(actor, space);
  store<u32>(actor, pfn, ALLOC_PFN);
  store<u32>(actor, AT_LIMIT | RECLAIMED, ALLOC_LIMITED);
  psiMemstall(actor, PSI_RECLAIM, true);
  store<u32>(actor, CHARGE_IDEALIZED, ALLOC_PC);
}

function isTable(actor: usize): bool {
  const what = load<u32>(actor, ALLOC_TABLE);
  return what === PROCESS_TABLE || what === KVM_TABLE;
}

function isKvmTable(actor: usize): bool {
  return load<u32>(actor, ALLOC_TABLE) === KVM_TABLE;
}

function isTarget(actor: usize): bool {
  return load<u32>(actor, ALLOC_TABLE) === TARGET;
}

// Is the table charged?
function charged(actor: usize): bool {
  return memcgChargesTables(spaceMemcg(<usize>load<u32>(actor, ALLOC_MEMCG)), isKvmTable(actor));
}

// Nothing was reclaimed sixteen times in a row, and no write is under way that could still free something.
function giveUp(mm: usize, actor: usize): bool {
  return load<u32>(actor, ALLOC_RETRIES) >= RECLAIM_RETRIES && mmWriteback(mm) === 0;
}

// The fast path, then, with kswapd woken, the slow path's attempts. After reclaim only these are repeated; what it has freed may
// stand on per-CPU lists, where the watermarks do not see it: they are emptied before the request gives in
// (__alloc_pages_direct_reclaim()).
function takeFrame(mm: usize, actor: usize, reclaimed: bool): bool {
  const table = isTable(actor);
  const gfp = table ? GFP_TABLE_PAGE : GFP_USER_PAGE;
  const cpu = actorCpu(actor);
  let pfn = PFN_NONE;
  if (reclaimed) {
    pfn = pageFromFreelist(mm, cpu, 0, gfp, slowFlags(gfp));
    if (pfn === PFN_NONE) drainAllPages(mm);
  } else {
    pfn = pageFromFreelist(mm, cpu, 0, gfp, fastFlags(mm, gfp));
    if (pfn === PFN_NONE) kswapdWake(mm, actorClock(actor));
  }
  if (pfn === PFN_NONE) pfn = pageFromFreelist(mm, cpu, 0, gfp, slowFlags(gfp));
  if (pfn === PFN_NONE && reclaimed) kswapdWake(mm, actorClock(actor));
  if (pfn === PFN_NONE) return false;
  if (takeBoostFlag(mm)) kswapdWake(mm, actorClock(actor));
  const page = pageOf(mm, pfn);
  setPageFlags(page, table ? PG_TABLE : 0);
  setPageMaps(page, 0);
  setPageOwner(page, spaceId(<usize>load<u32>(actor, ALLOC_MEMCG)), 0);
  store<u32>(actor, pfn, ALLOC_PFN);
  emit(TRACE_MM_PAGE_ALLOC, actorClock(actor), pfn, 0, gfpMigratetype(gfp), 0);
  return true;
}

/** Takes a frame for a page table of `space`, or of KVM's for it, at boot before time starts, or when its process maps more. PFN_NONE when memory is exhausted. */
export function allocBootTable(mm: usize, space: usize, kvm: bool): u32 {
  const pfn = allocPagesNoReclaim(mm, 0, 0, GFP_TABLE_PAGE);
  if (pfn === PFN_NONE) return PFN_NONE;
  setPageFlags(pageOf(mm, pfn), PG_TABLE);
  setPageOwner(pageOf(mm, pfn), spaceId(space), 0);
  const memcg = spaceMemcg(space);
  if (!memcgChargesTables(memcg, kvm)) return pfn;
  pageSet(pageOf(mm, pfn), PG_ACCOUNT);
  setMemcgUsage(memcg, memcgUsage(memcg) + 1);
  return pfn;
}

/** After STEP_OOM: true when the cgroup's limit was reached, false when the host had no memory. */
export function allocOverLimit(actor: usize): bool {
  return load<u32>(actor, ALLOC_PC) === CHARGE;
}
