import { arenaReserve, arenaTake, PART_POLICIES, PART_RECORDS } from "../memory/arena";
import { nextUseBuild, nextUseBytes } from "../policy/nextuse";
import { Outside } from "../policy/outside";
import { Policy } from "../policy/policy";
import {
  checkPolicy,
  POLICY_BELADY,
  POLICY_BYTES,
  POLICY_OUTSIDE,
  policyBytes,
  policyEnter,
  policyForget,
  policyGrow,
  policyHit,
  policyLayout,
  policyReset,
} from "../policy/registry";
import { memcgMax } from "./memcg";
import { pteMigration, ptePresent } from "./pte";
import { setSpacePolicy, spaceId, spaceMemcg, spacePages, spacePolicy, spacePte } from "./space";

// What an idealized policy is told of a VM's pages. It sees every access that ends, which no kernel can: a page enters with its first
// access after the fault, and is in memory for the policy until it is chosen (idealized.ts) or until somebody else unmaps it.
//
// invariant: what is resident for the policy is mapped, or being migrated

function policyOf(space: usize): Policy {
  return changetype<Policy>(spacePolicy(space));
}

/** Gives the pages of `space` to a policy, POLICY_*. False when memory is exhausted. */
export function residencyCreate(space: usize, kind: u32): bool {
  const record = arenaTake(PART_RECORDS, POLICY_BYTES);
  if (record === 0) return false;
  setSpacePolicy(space, record);
  const policy = policyOf(space);
  policy.kind = kind;
  return true;
}

/** Reserves the policy's arrays; for one that knows the future, its VM's only task replays the trace at `trace`. */
export function residencyLayout(space: usize, trace: usize, references: u32): void {
  const policy = policyOf(space);
  policy.pages = spacePages(space);
  policy.room = policy.pages;
  if (policy.kind === POLICY_OUTSIDE) changetype<Outside>(policy).vm = spaceId(space);
  if (policy.kind === POLICY_BELADY) {
    policy.trace = trace;
    policy.references = references;
    policy.nextUses = arenaReserve(PART_POLICIES, nextUseBytes(references), 64);
  }
  policyLayout(policy, <u64>arenaReserve(PART_POLICIES, policyLayout(policy, 0), 64));
}

// What residencyGrow() has reserved.
let grown: usize = 0;

/** Reserves the arrays of the policy of a space that lives, for `room` page numbers; after arenaCommit() residencyMove() follows. */
export function residencyGrow(space: usize, room: u32): void {
  grown = arenaReserve(PART_POLICIES, policyBytes(policyOf(space), room), 64);
}

export function residencyMove(space: usize, room: u32): void {
  policyGrow(policyOf(space), room, <u64>grown);
}

/** All memory is there, and so are the words of the traces. */
export function residencyStart(space: usize): void {
  const policy = policyOf(space);
  if (policy.kind === POLICY_BELADY) {
    // The states are set afterwards and the keys as pages enter: the room of both is free now.
    nextUseBuild(policy.trace, policy.references, policy.pages, policy.nextUses, policy.scratch);
  }
  policyReset(policy, residencyCapacity(space));
}

/** The policy's memory: the limit, as far as there are pages. */
export function residencyCapacity(space: usize): u32 {
  return max<u32>(1, min<u32>(memcgMax(spaceMemcg(space)), spacePages(space)));
}

/** An access to page `index` has ended. Under the notifier of 2008 it may go by an spte whose page the host has unmapped: that one has left. */
export function spaceReferenced(space: usize, index: u32, write: bool): void {
  const policy = policyOf(space);
  if (policy.kind === POLICY_OUTSIDE) outsideReferenced(space, changetype<Outside>(policy), index, write);
  else if (policy.resident(index)) policyHit(policy, index);
  else if (mapped(space, index)) policyEnter(policy, index);
}

// The same, and whether it was written, without a detour through the table.
function outsideReferenced(space: usize, policy: Outside, index: u32, write: bool): void {
  if (policy.resident(index)) return policy.use(index, write);
  if (!mapped(space, index)) return;
  policy.enter(index);
  if (write) policy.wrote(index);
}

function mapped(space: usize, index: u32): bool {
  const pte = spacePte(space, index);
  return ptePresent(pte) || pteMigration(pte);
}

/** Page `index` is not mapped any more. */
export function spaceUnmapped(space: usize, index: u32): void {
  if (spacePolicy(space) !== 0 && policyOf(space).resident(index)) policyForget(policyOf(space), index);
}

export function checkResidency(space: usize): void {
  const policy = policyOf(space);
  checkPolicy(policy);
  for (let index: u32 = 0; index < spacePages(space); index++) {
    assert(!policy.resident(index) || mapped(space, index));
  }
}
