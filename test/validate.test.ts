// At stake: a disagreement with a real kernel that is not counted, or a case that is quietly left out. Counting, finding and refusing are
// checked on cases made by hand with a replayer made by hand, the models on all captures that there are.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { validateCommand } from "#dist/cli/validate.js";
import { type ErrorCode, PagevisorError } from "#dist/errors.js";
import { Agreement } from "#dist/validate/agreement.js";
import { readCase, readSteps } from "#dist/validate/cases.js";
import { validate } from "#dist/validate/index.js";
import type { Replayer } from "#dist/validate/result.js";
import { recordingTerminal } from "./cli/made.js";

const ROOT = join(dirname(fileURLToPath(import.meta.resolve("#dist/index.js"))), "..");
const FIXTURES = join(ROOT, "test/fixtures/captures");
const REFERENCE = join(ROOT, "../shared/traces/mm");

const test = suite<{ folder: string }>("validate");

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), "pagevisor-"));
});

test.after.each(({ folder }) => {
  rmSync(folder, { recursive: true });
});

type Step = Record<string, unknown>;

/** Writes a case; `format` undefined leaves it out. */
function writeCase(directory: string, steps: Step[], { format = "made-1", gzip = false } = {}): string {
  mkdirSync(directory, { recursive: true });
  const name = directory.split("/").at(-1);
  writeFileSync(join(directory, "case.json"), JSON.stringify({ format, name }));
  const text = steps.map((step) => `${JSON.stringify(step)}\n`).join("");
  if (gzip) writeFileSync(join(directory, "steps.ndjson.gz"), gzipSync(text));
  else writeFileSync(join(directory, "steps.ndjson"), text);
  return directory;
}

/** A model that says 7 for everything; a step without a value compares nothing. */
const seven: Replayer = ({ name, steps }) => {
  const agreement = new Agreement();
  for (const { i, value } of steps) {
    agreement.begin(i as number);
    if (value !== undefined) agreement.compare("value", value, 7);
  }
  return agreement.result(name, "made-1");
};

const made = { replayers: new Map([["made-1", seven]]), module: {} as WebAssembly.Module };

/** A copy of `list` with another entry at `index`. */
function replaced<T>(list: readonly T[], index: number, entry: T): T[] {
  return list.map((each, place) => (place === index ? entry : each));
}

async function refusal(work: () => unknown, code: ErrorCode = "E_FILE"): Promise<string> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, PagevisorError);
    assert.is((error as PagevisorError).code, code);
    assert.not.match((error as PagevisorError).message, "\n");
    return (error as PagevisorError).message;
  }
  return assert.unreachable("nothing was refused") as never;
}

test("a step agrees when all its fields do, and counts when one was compared", () => {
  const agreement = new Agreement();
  agreement.begin(10);
  agreement.compare("pfn", 1, 1);
  agreement.begin(11);
  agreement.begin(12);
  assert.not(agreement.compare("pfn", 1, 2));
  assert.not(agreement.compare("err", "nomem", undefined));
  assert.ok(agreement.compare("zone", undefined, null));
  agreement.begin(13);
  agreement.compare("err", null, null);
  assert.equal(agreement.result("a", "made-1"), {
    name: "a",
    format: "made-1",
    agree: 2,
    steps: 3,
    compared: ["pfn", "err", "zone"],
    first: { step: 12, field: "pfn", expected: 1, got: 2 },
  });
});

for (const [expected, got, field, left, right] of [
  [{ a: 1, b: [[1], [2, 3]] }, { a: 1, b: [[1], [2, 4]] }, "x.b[1]", [2, 3], [2, 4]],
  [[{ a: 1 }, { a: 2 }], [{ a: 1 }, { a: 2, b: 3 }], "x[1].b", null, 3],
  [{ a: [1, 2] }, { a: [2, 1] }, "x.a", [1, 2], [2, 1]],
  [[[1, 2]], [[1, 2], [3]], "x", [[1, 2]], [[1, 2], [3]]],
  [[], [1], "x", [], [1]],
  [0, null, "x", 0, null],
  ["1", 1, "x", "1", 1],
  [{}, [], "x", {}, []],
] as const) {
  test(`the part that differs is named: ${JSON.stringify(expected)} and ${JSON.stringify(got)}`, () => {
    const agreement = new Agreement();
    agreement.begin(1);
    assert.not(agreement.compare("x", expected, got));
    const { agree, first } = agreement.result("a", "made-1");
    assert.is(agree, 0);
    assert.equal(first, { step: 1, field, expected: left, got: right });
    agreement.begin(2);
    assert.ok(agreement.compare("x", expected, structuredClone(expected)));
  });
}

test("cases are found at any depth, in order, each once, plain or gzip", async ({ folder }) => {
  const b = writeCase(join(folder, "z/b"), [{ i: 1, value: 7 }, { i: 2, value: 8 }, { i: 3 }]);
  writeCase(join(folder, "a"), [{ i: 0, value: 7 }], { gzip: true });
  writeCase(join(folder, "c"), [], { format: "mm-lru-1" });
  mkdirSync(join(folder, "empty"));
  writeFileSync(join(folder, "README.md"), "");
  symlinkSync(folder, join(folder, "z/up"));

  const result = await validate([b, folder], made);
  const first = { step: 2, field: "value", expected: 8, got: 7 };
  assert.equal(result, {
    schema: "pagevisor.validate/1",
    agree: 2,
    steps: 3,
    skipped: [{ name: "c", why: "format mm-lru-1 is not modelled in this version" }],
    failed: [],
    cases: [
      { name: "b", format: "made-1", agree: 1, steps: 2, compared: ["value"], first },
      { name: "a", format: "made-1", agree: 1, steps: 1, compared: ["value"] },
    ],
  });
});

test("a case without a name is called by its directory; its empty lines are no steps", ({ folder }) => {
  const directory = writeCase(join(folder, "d"), []);
  writeFileSync(join(directory, "case.json"), '{"format":"made-1"}');
  writeFileSync(join(directory, "steps.ndjson"), '\n{"i":1}\r\n\n{"i":2}');
  assert.is(readCase(directory).name, "d");
  assert.equal(readSteps(directory), [{ i: 1 }, { i: 2 }]);
});

test("what cannot be read is refused with its place", async ({ folder }) => {
  const directory = writeCase(join(folder, "d"), [{ i: 1, value: 7 }]);
  const [caseFile, stepsFile] = [join(directory, "case.json"), join(directory, "steps.ndjson")];
  const says = async (message: string): Promise<void> =>
    assert.equal((await validate([folder], made)).failed, [
      { path: directory, code: "E_FILE", why: message },
    ]);
  const refused = async (message: string, path: string): Promise<void> =>
    assert.is(await refusal(() => validate([path], made)), message);

  await refused(`${folder}/none: no such file or directory`, join(folder, "none"));
  assert.match(await refusal(() => validate([caseFile], made)), `${caseFile}: not a directory`);
  mkdirSync(join(folder, "empty"));
  await refused(
    `${folder}/empty: no case found. A case is a directory with a case.json, or a table of misses`,
    join(folder, "empty"),
  );

  writeFileSync(stepsFile, '{"i":1}\n{"i":2,}\n');
  await says(`${stepsFile}:2:8: not JSON: expected a key in double quotes, found "}"`);
  writeFileSync(stepsFile, '{"i":1}\n[1]\n');
  await says(`${stepsFile}:2: expected a JSON object, found a list`);
  writeFileSync(stepsFile, gzipSync('{"i":1}\n'.repeat(100)).subarray(0, 20));
  await says(`${stepsFile}: truncated or corrupt gzip`);
  rmSync(stepsFile);
  await says(`${stepsFile}: missing. A case has steps.ndjson or steps.ndjson.gz`);
  mkdirSync(stepsFile);
  await says(`${stepsFile}: cannot read (EISDIR)`);

  writeFileSync(caseFile, "{");
  await says(`${caseFile}:1:2: not JSON: expected a key in double quotes, found the end of the file`);
  writeFileSync(caseFile, "{}");
  await says(`${caseFile}: format: missing. Allowed: the name of a capture format, as in "mm-buddy-1"`);
  rmSync(caseFile);
  await refused(`${caseFile}: missing; steps.ndjson is there`, folder);
});

test("an error of a replayer says which case", async ({ folder }) => {
  const directory = writeCase(join(folder, "d"), []);
  const failing = (error: Error) => ({
    ...made,
    replayers: new Map<string, Replayer>([
      [
        "made-1",
        () => {
          throw error;
        },
      ],
    ]),
  });
  const wrong = new PagevisorError("E_FILE", "step 3: op: missing");
  const { failed } = await validate([folder], failing(wrong));
  assert.equal(failed, [{ path: directory, code: "E_FILE", why: `${directory}: step 3: op: missing` }]);
  const trap = await refusal(() => validate([folder], failing(new Error("unreachable"))), "E_INTERNAL");
  assert.is(trap, `${directory}: unreachable`);
});

async function command(paths: string[], json = false) {
  const terminal = recordingTerminal();
  const exitCode = await validateCommand(paths, { json }, terminal, made);
  return { exitCode, ...terminal.written };
}

test("a case that cannot be read does not stop the others; the command exits with 2", async ({ folder }) => {
  const broken = writeCase(join(folder, "a"), [{ i: 1, value: 7 }]);
  writeFileSync(join(broken, "steps.ndjson"), "{");
  writeCase(join(folder, "b"), [{ i: 1, value: 7 }]);
  const result = await validate([folder], made);
  assert.is(result.agree, 1);
  assert.equal(
    result.failed.map(({ path }) => path),
    [broken],
  );
  const terminal = recordingTerminal();
  const message = await refusal(() => validateCommand([folder], {}, terminal, made));
  assert.match(message, "steps.ndjson:1:2: not JSON");
  assert.match(terminal.written.out, /^b: agree 1 of 1 step\na: failed, .*steps\.ndjson:1:2: not JSON/);
  assert.match(terminal.written.out, /\n1 case: agree 1 of 1 step; 1 failed\n$/);
});

test("the command exits with 0 when everything agrees, with 1 when not", async ({ folder }) => {
  writeCase(join(folder, "a"), [{ i: 1, value: 7 }]);
  writeCase(join(folder, "c"), [], { format: "mm-lru-1" });
  assert.equal(await command([folder]), {
    exitCode: 0,
    err: "",
    out:
      "a: agree 1 of 1 step\n" +
      "c: skipped, format mm-lru-1 is not modelled in this version\n\n" +
      "1 case: agree 1 of 1 step; 1 skipped\n",
  });

  writeCase(join(folder, "b"), [
    { i: 1, value: 7 },
    { i: 2, value: 8 },
    { i: 5, value: 9 },
  ]);
  const { exitCode, out } = await command([folder]);
  assert.is(exitCode, 1);
  assert.match(out, "b: agree 1 of 3 steps\n  first at step 2, value: expected 8, got 7\n");
  assert.match(out, /\n2 cases: agree 2 of 4 steps; 1 skipped\n$/);

  const json = await command([folder], true);
  assert.is(json.exitCode, 1);
  assert.equal(JSON.parse(json.out), await validate([folder], made));
});

test("a long difference is cut to the part around it", async ({ folder }) => {
  const list = Array.from({ length: 500 }, (_, index) => index);
  writeCase(join(folder, "a"), [{ i: 1, value: list }]);
  const replay: Replayer = ({ name, steps }) => {
    const agreement = new Agreement();
    agreement.begin(1);
    agreement.compare("value", steps[0]!.value, replaced(list, 400, -1));
    return agreement.result(name, "made-1");
  };
  const terminal = recordingTerminal();
  const options = { ...made, replayers: new Map([["made-1", replay]]) };
  assert.is(await validateCommand([folder], {}, terminal, options), 1);
  assert.match(terminal.written.out, /expected …397,398,399,400,401,.*…\n +got +…397,398,399,-1,401,.*…\n/);
  assert.ok(terminal.written.out.split("\n").every((line) => line.length <= 100));
});

test("nothing but skipped cases is nothing compared: they are printed, and refused", async ({ folder }) => {
  writeCase(join(folder, "c"), [], { format: "mm-lru-1" });
  const terminal = recordingTerminal();
  const message = await refusal(() => validateCommand([folder], { json: true }, terminal, made));
  assert.is(message, `${folder}: nothing was compared: format mm-lru-1 is not modelled in this version`);
  assert.is(JSON.parse(terminal.written.out).skipped.length, 1);
});

test("Ctrl-C ends the command between two cases with those that are done", async ({ folder }) => {
  for (const name of ["a", "b"]) writeCase(join(folder, name), [{ i: 1, value: 7 }]);
  const terminal = recordingTerminal();
  const interrupting: Replayer = (input, module) => {
    terminal.interrupt.abort();
    return seven(input, module);
  };
  const options = { ...made, replayers: new Map([["made-1", interrupting]]) };
  assert.is(await validateCommand([folder], {}, terminal, options), 130);
  assert.match(terminal.written.out, "1 case: agree 1 of 1 step\n");
});

test("the worked example of docs/validate.md agrees", async ({ folder }) => {
  const text = readFileSync(join(ROOT, "docs/validate.md"), "utf8");
  for (const file of ["case.json", "steps.ndjson"]) {
    const [, block] = text.split(`<!-- first-page: ${file} -->\n\`\`\`json\n`);
    writeFileSync(join(folder, file), block!.split("```")[0]!);
  }
  const { agree, steps, cases } = await validate([folder]);
  assert.equal([agree, steps, cases[0]!.name], [5, 5, "first-page"]);
});

/** The least share of steps that has to agree: page-out to devices that take time, and fork, have parts that are not modelled. */
function leastShare(directory: string): number {
  const { name, caseJson } = readCase(directory);
  const devices = (caseJson.devices ?? []) as { synchronous: boolean }[];
  return name.includes("fork") || devices.some(({ synchronous }) => !synchronous) ? 0.95 : 1;
}

async function assertAgreement(folder: string, least: number): Promise<void> {
  const { cases, skipped } = await validate([folder]);
  for (const { why } of skipped) assert.not.match(why, /mm-(balloon|buddy|report|swap)-1/);
  assert.ok(cases.length >= least, `${cases.length} cases`);
  for (const { name, agree, steps, first } of cases) {
    const share = leastShare(join(folder, name));
    const what = `${name}: agree ${agree} of ${steps} steps, first ${JSON.stringify(first)?.slice(0, 300)}`;
    assert.ok(steps > 0 && agree >= share * steps, what);
  }
}

test("the captures of the package agree, and there is one of every family", async () => {
  await assertAgreement(FIXTURES, 8);
  for (const family of ["balloon-224m", "lru-classic-scan-s25", "lru-mglru-scan-s35", "report-320m-s5"]) {
    assert.match(readCase(join(FIXTURES, family)).format, /^mm-/);
  }
});

if (existsSync(REFERENCE)) {
  test("the reference captures agree", () => assertAgreement(REFERENCE, 25));
} else {
  console.log(`skipped: the reference captures agree (there is no ${REFERENCE})`);
}

test("a capture is read the same from gzip and from text", ({ folder }) => {
  const from = join(FIXTURES, "swap-seq-zram-s1");
  copyFileSync(join(from, "case.json"), join(folder, "case.json"));
  writeFileSync(join(folder, "steps.ndjson.gz"), gzipSync(readFileSync(join(from, "steps.ndjson"))));
  assert.equal(readSteps(folder), readSteps(from));
  assert.equal(readCase(folder).caseJson, readCase(from).caseJson);
});

test.run();
