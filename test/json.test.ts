// The place of the first mistake in a scenario file: it is right exactly where JSON.parse refuses, and says what is allowed.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { PagevisorError } from "#dist/errors.js";
import { parseJson } from "#dist/json.js";
import { parameters } from "./reference/report.js";

function mistake(text: string): string {
  try {
    parseJson(text, "s.json");
  } catch (error) {
    assert.instance(error, PagevisorError);
    assert.is((error as PagevisorError).code, "E_FILE");
    return (error as PagevisorError).message;
  }
  return "none";
}

for (const [text, message] of [
  ["", "s.json:1:1: not JSON: expected a value, found the end of the file"],
  ['{\n  "a": 1,\n}', 's.json:3:1: not JSON: expected a key in double quotes, found "}"'],
  ['{ "a": 1 "b": 2 }', 's.json:1:10: not JSON: expected "," or "}", found "\\""'],
  ['{ "a" 1 }', 's.json:1:7: not JSON: expected ":", found "1"'],
  ["[1, 2", 's.json:1:6: not JSON: expected "," or "]", found the end of the file'],
  ["[1, ]", 's.json:1:5: not JSON: expected a value, found "]"'],
  ['{ "a": 64MiB }', 's.json:1:8: not JSON: expected a value, found "64MiB"'],
  ['{ "a": 01 }', 's.json:1:8: not JSON: expected a value, found "01"'],
  ["{ // seed\n}", "s.json:1:3: not JSON: expected a key in double quotes, found a comment (JSON has none)"],
  ["{} {}", 's.json:1:4: not JSON: expected nothing more, found "{"'],
  ["{ 'a': 1 }", `s.json:1:3: not JSON: expected a key in double quotes, found "'"`],
] as const) {
  test(`refuses ${JSON.stringify(text)} with its place`, () => {
    assert.is(mistake(text), message);
  });
}

test("a byte order mark is not a mistake", () => {
  assert.equal(parseJson('\uFEFF{ "a": [] }', "s.json"), { a: [] });
});

test("finds a place whenever JSON.parse refuses: one character removed, added or replaced", () => {
  fc.assert(
    fc.property(
      fc.json({ maxDepth: 3 }),
      fc.nat(),
      fc.nat(2),
      fc.constantFrom(...'{}[],:"0-.eE+ x\\u\n\u0001\u0085/'),
      (json, at, removed, added) => {
        const offset = at % (json.length + 1);
        const text =
          json.slice(0, offset) + (removed === 2 ? "" : added) + json.slice(offset + Math.min(removed, 1));
        let valid = true;
        try {
          JSON.parse(text);
        } catch {
          valid = false;
        }
        const message = mistake(text);
        if (valid) assert.is(message, "none");
        else assert.match(message, /^s\.json:\d+:\d+: not JSON: expected /);
      },
    ),
    parameters(500),
  );
});

test.run();
