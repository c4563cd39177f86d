// At stake: the hash of asynchronous page faults, the table of gfns that a vCPU waits for, and the tokens. Vectors of the kernel's
// rules, and random operations with a Map beside them; the table asserts itself after each.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Core } from "#dist/core.js";
import { parameters } from "../reference/report.js";

const debug = new WebAssembly.Module(readFileSync(new URL("../../../build/debug.wasm", import.meta.url)));
type Call = Record<string, (...args: number[]) => number>;

function table(bits: number): Call {
  const call = new Core(debug).call as unknown as Call;
  assert.is(call.apfCaseBegin!(bits), 0);
  return call;
}

test("the hash is the kernel's hash_32()", () => {
  const { apfCaseHash } = table(6);
  const gfns = [0, 1, 2, 3, 0x10, 0x100, 0x1000, 0x12345, 0x7ffff, 0x100001];
  assert.equal(
    gfns.map((gfn) => apfCaseHash!(gfn, 6)),
    [0, 24, 48, 9, 7, 50, 34, 18, 52, 49],
  );
  const tokens = [0x1000, 0x2000, 0x1001, 0x2001, 0xfffff000, 0xffffffff];
  assert.equal(
    tokens.map((token) => apfCaseHash!(token, 8)),
    [136, 16, 234, 114, 119, 158],
  );
});

test("gfns of one home stand one after another, and move back when one goes", () => {
  const call = table(6);
  const gfns = [1, 56, 90, 145, 234, 289, 323];
  assert.equal(
    gfns.map((gfn) => call.apfCaseAdd!(gfn)),
    [24, 25, 26, 27, 28, 29, 30],
  );
  call.apfCaseRemove!(1);
  assert.is(call.apfCaseFind!(1), -1);
  assert.equal(
    gfns.slice(1).map((gfn) => call.apfCaseFind!(gfn)),
    [24, 25, 26, 27, 28, 29],
  );
});

test("the table holds what was put in and not taken out, also when it grows", () => {
  const operation = fc.oneof(
    { weight: 5, arbitrary: fc.record({ add: fc.nat({ max: 200 }) }) },
    { weight: 4, arbitrary: fc.record({ remove: fc.nat() }) },
    { weight: 1, arbitrary: fc.constant({ grow: true }) },
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200, size: "max" }), (operations) => {
      const call = table(3);
      const held: number[] = [];
      let bits = 3;
      for (const each of operations) {
        if ("add" in each) {
          if (held.includes(each.add) || held.length === 2 ** bits) continue;
          call.apfCaseAdd!(each.add);
          held.push(each.add);
        } else if ("remove" in each) {
          if (held.length === 0) continue;
          call.apfCaseRemove!(held.splice(each.remove % held.length, 1)[0]!);
        } else if (bits < 8) {
          bits++;
          call.apfCaseGrow!(bits);
        }
        assert.is(call.apfCaseCount!(), held.length);
        for (let gfn = 0; gfn <= 200; gfn += 7) assert.is(call.apfCaseFind!(gfn) >= 0, held.includes(gfn));
      }
    }),
    parameters(200),
  );
});

test("tokens count attempts beside the vCPU; today a number whose low bits are 0 is left out", () => {
  const call = table(3);
  const tokens = (vcpu: number, from: number, skipsZero: boolean, count: number): string[] => {
    let id = from;
    return Array.from({ length: count }, () => {
      const token = call.apfCaseToken!(id, vcpu, Number(skipsZero)) >>> 0;
      id = call.apfCaseNextId!(id, Number(skipsZero));
      return token.toString(16);
    });
  };
  assert.equal(tokens(0, 0, true, 3), ["1000", "2000", "3000"]);
  assert.equal(tokens(3, 0, true, 2), ["1003", "2003"]);
  assert.equal(tokens(3, 0xfffff, true, 3), ["fffff003", "1003", "2003"]);
  assert.equal(tokens(3, 0, false, 2), ["3", "1003"]);
  assert.equal(tokens(3, 0xfffff, false, 3), ["fffff003", "3", "1003"]);
  assert.equal(tokens(0, 0, false, 1), ["0"]);
  assert.equal(tokens(4095, 0xfffff, true, 1), ["ffffffff"], "the last vCPU's last token is the broadcast");
});

test.run();
