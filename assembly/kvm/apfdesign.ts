import {
  APF_BY_GFN,
  APF_GUEST,
  APF_MARKS_DIRTY,
  APF_NO_IO,
  APF_ON,
  APF_PIN_MAPPING,
  APF_READY_FAULT,
  APF_SCHEDULE_FIRST,
  APF_SEND_ALWAYS,
  APF_TELL_OR_WAIT,
  APF_TOKEN_SKIPS_ZERO,
  APF_PIN_HELD as PIN_HELD,
} from "./apf";

// The designs of asynchronous page faults, each a choice among the rules of apf.ts.

export const APF_DESIGN_OFF: u32 = 0;
/** The patch of 2010, fifth version. */
export const APF_DESIGN_2010: u32 = 1;
/** Today's host under a guest that takes no part. */
export const APF_DESIGN_HALT_ONLY: u32 = 2;
/** Today's host and guest. */
export const APF_DESIGN_UPSTREAM: u32 = 3;

/** What becomes of the worker's reference to a fetched page: dropped; kept until its completion is consumed; so too, but migratable. */
export const APF_PIN_RELEASED: u32 = 0;
export const APF_PIN_HELD: u32 = 1;
export const APF_PIN_MAPPING_2013: u32 = 2;

/** The rules of a design; what can be set apart from it is given beside it. */
export function apfDesignRules(design: u32, sendAlways: bool, pin: u32, tokenSkipsZero: bool): u32 {
  if (design === APF_DESIGN_OFF) return 0;
  let rules = APF_ON;
  if (design === APF_DESIGN_2010) {
    rules |= APF_GUEST | APF_TELL_OR_WAIT | APF_NO_IO | APF_SCHEDULE_FIRST | APF_READY_FAULT;
  } else {
    rules |= APF_BY_GFN | APF_MARKS_DIRTY;
    if (design === APF_DESIGN_UPSTREAM) rules |= APF_GUEST;
  }
  if (sendAlways) rules |= APF_SEND_ALWAYS;
  if (pin !== APF_PIN_RELEASED) rules |= PIN_HELD;
  if (pin === APF_PIN_MAPPING_2013) rules |= APF_PIN_MAPPING;
  return tokenSkipsZero ? rules | APF_TOKEN_SKIPS_ZERO : rules;
}
