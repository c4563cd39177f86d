import { APF_ID, APF_TOKEN_SKIPS_ZERO, apfRule, apfVcpu } from "./apf";
import { vcpuIndex } from "./vcpu";

// Tokens: what names one asynchronous page fault to the guest.
//
//   31                    12 11           0
//   +-----------------------+--------------+
//   | number of the attempt | vCPU         |     the number wraps after 2^20 attempts
//   +-----------------------+--------------+
//
// The number moves on with each attempt, also one that then fails. Today a number whose low 20 bits are 0 is not used, because a
// token of 0 means "free" in the shared area; 2.6.38 could hand it out. TOKEN_ALL is the broadcast, and also what vCPU 4095 would
// get for number 0xfffff.

const VCPU_BITS: u32 = 12;

/** The number that an attempt takes whose turn is `id`. */
export function tokenNumber(id: u32, skipsZero: bool): u32 {
  return skipsZero && id << VCPU_BITS === 0 ? 1 : id;
}

/** The token of attempt `number` of a vCPU. */
export function tokenOf(number: u32, vcpu: u32): u32 {
  return (number << VCPU_BITS) | vcpu;
}

/** alloc_apf_token(): the token of the next attempt. */
export function apfNextToken(apf: usize): u32 {
  const number = tokenNumber(load<u32>(apf, APF_ID), apfRule(apf, APF_TOKEN_SKIPS_ZERO));
  store<u32>(apf, number + 1, APF_ID);
  return tokenOf(number, vcpuIndex(apfVcpu(apf)));
}
