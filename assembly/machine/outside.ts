import { outsideRegister, setOutsideBatch } from "../policy/outside";
import { STOP_POLICY, setStop } from "./state";

export {
  OUTSIDE_ACCESSED,
  OUTSIDE_AGE,
  OUTSIDE_BAD_CHOICE,
  OUTSIDE_BATCH_MAX,
  OUTSIDE_CHOICES,
  OUTSIDE_DIRTY,
  OUTSIDE_EVICT,
  OUTSIDE_KEEP,
  OUTSIDE_NO_CHOICE,
  OUTSIDE_PAGE,
  OUTSIDE_SOUND,
  OUTSIDE_THREW,
  OUTSIDE_USES,
  outsideClear,
  outsideColumns,
  outsideFailedAt,
  outsideFailure,
} from "../policy/outside";

// The policy from outside, for a machine: how many candidates it is asked about, and that a run stops when it has failed.

/** Candidates that POLICY_OUTSIDE is asked about at once, 1..OUTSIDE_BATCH_MAX; before the machine boots. */
export function configOutside(batch: u32): void {
  setOutsideBatch(batch);
}

/** Fills in the hook of the lower floor; once, when the module starts. */
export function outsideInit(): void {
  outsideRegister((): void => setStop(STOP_POLICY));
}
