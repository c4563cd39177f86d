// At stake: a count that is wrong and passes, and a table that is quietly left out. Every table that there is must agree to the integer;
// finding, refusing and leaving out are checked on copies of the package's own table with one thing changed.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { validateCommand } from "#dist/cli/validate.js";
import { PagevisorError } from "#dist/errors.js";
import { POLICIES } from "#dist/policynames.js";
import { validate } from "#dist/validate/index.js";
import { recordingTerminal } from "../cli/made.js";

const ROOT = join(dirname(fileURLToPath(import.meta.resolve("#dist/index.js"))), "..");
const OWN = join(ROOT, "test/fixtures/policies");
const NAME = "scan_400_6k";
const REFERENCES = ["policies", "programs"].map((name) => join(ROOT, "../shared/traces", name));

interface Table {
  misses: Record<string, Record<string, number>>;
  [key: string]: unknown;
}

const own = (): Table => JSON.parse(readFileSync(join(OWN, `${NAME}.json`), "utf8")) as Table;

const test = suite("tables", { folder: "", table: "" });
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), "pagevisor-"));
  context.table = join(context.folder, `${NAME}.json`);
  copyFileSync(join(OWN, `${NAME}.u32.gz`), join(context.folder, `${NAME}.u32.gz`));
  writeFileSync(context.table, JSON.stringify(own()));
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true }));

async function refusal(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, PagevisorError);
    assert.is((error as PagevisorError).code, "E_FILE");
    return (error as PagevisorError).message;
  }
  return assert.unreachable("nothing was refused") as never;
}

/** Why the one case that fails does. */
async function failure(paths: string[], traces?: string): Promise<string> {
  const { failed } = await validate(paths, traces === undefined ? {} : { traces });
  assert.is(failed.length, 1);
  return failed[0]!.why;
}

test("the package's table agrees, and has every policy", async () => {
  assert.is(Object.keys(own().misses).length, POLICIES.length);
  const { agree, steps, skipped, cases } = await validate([OWN]);
  assert.equal([agree, steps, skipped], [27, 27, []]);
  assert.equal(cases, [{ name: NAME, format: "miss-table", agree: 27, steps: 27, compared: ["misses"] }]);
});

for (const folder of REFERENCES) {
  if (!existsSync(folder)) {
    console.log(`skipped: the tables of ${folder} agree (it is not there)`);
    continue;
  }
  test(`every count of ${folder} agrees`, async () => {
    const { agree, steps, skipped, cases } = await validate([folder]);
    assert.equal(
      cases.flatMap(({ first }) => first ?? []),
      [],
    );
    assert.is(agree, steps);
    assert.ok(steps >= 90, `${steps} counts`);
    for (const { why, madeBy } of skipped) assert.ok(madeBy !== undefined && why.includes(madeBy), why);
  });
}

test("one count that is off by one is found and named", async ({ folder, table }) => {
  const wrong = own();
  wrong.misses.ARC!["60"]! += 1;
  writeFileSync(table, JSON.stringify(wrong));
  const terminal = recordingTerminal();
  assert.is(await validateCommand([folder], {}, terminal), 1);
  const expected = wrong.misses.ARC!["60"]!;
  assert.match(
    terminal.written.out,
    `${NAME}: agree 26 of 27 steps\n  first at step 17, misses.ARC["60"]: expected ${expected}, got ${expected - 1}\n`,
  );
});

test("a table is found by its own path, and among captured cases", async ({ folder, table }) => {
  assert.is((await validate([table])).steps, 27);
  assert.is((await validate([folder, table])).steps, 27);
  mkdirSync(join(folder, "case"));
  writeFileSync(join(folder, "case/case.json"), '{"format":"none-1","name":"x"}');
  writeFileSync(join(folder, "unrelated.json"), '{"misses":1}');
  const { steps, skipped } = await validate([folder]);
  assert.equal([steps, skipped.map(({ name }) => name)], [27, ["x"]]);
});

test("a trace that is not beside its table is taken from --traces, or the table is skipped and says how to make it", async ({
  folder,
  table,
}) => {
  const traces = join(folder, "elsewhere");
  mkdirSync(traces);
  const plain = gunzipSync(readFileSync(join(folder, `${NAME}.u32.gz`)));
  rmSync(join(folder, `${NAME}.u32.gz`));
  const why = `its trace ${NAME}.u32.gz was not found; made by ${own().made_by}`;
  assert.equal((await validate([folder])).skipped, [{ name: NAME, why, madeBy: own().made_by }]);
  assert.equal((await validate([folder], { traces })).skipped.length, 1);

  writeFileSync(join(traces, `${NAME}.u32`), plain);
  assert.equal((await validate([folder], { traces })).agree, 27);
  const terminal = recordingTerminal();
  assert.is(await validateCommand([table], { traces }, terminal), 0);

  const message = await refusal(() => validate([folder], { traces: join(folder, "none") }));
  assert.is(message, `${folder}/none: no such file or directory`);
});

test("a trace that is not the table's is refused, beside it and elsewhere", async ({ folder, table }) => {
  const file = join(folder, `${NAME}.u32.gz`);
  const plain = gunzipSync(readFileSync(file));
  plain[0]! ^= 1;
  writeFileSync(file, plain);
  assert.match(await failure([folder]), `${file}: not the trace of ${table}: its sha256 is `);
  rmSync(file);
  mkdirSync(join(folder, "traces"));
  writeFileSync(join(folder, "traces", `${NAME}.u32`), plain);
  const message = await failure([table], join(folder, "traces"));
  assert.match(message, "not the trace of");
});

test("a policy that is not modelled is skipped, the others are compared", async ({ folder, table }) => {
  const more = own();
  more.misses["W-TINYLFU"] = { 20: 1 };
  writeFileSync(table, JSON.stringify(more));
  const { agree, steps, skipped } = await validate([folder]);
  assert.equal([agree, steps], [27, 27]);
  assert.equal(skipped, [{ name: `${NAME}, W-TINYLFU`, why: "the policy is not modelled in this version" }]);
});

for (const [what, change, message] of [
  ["no sha256", { sha256: undefined }, /scan_400_6k\.json: sha256: missing/],
  ["a size that is none", { misses: { LRU: { "10%": 5 } } }, /misses\.LRU: "10%" is no size of memory/],
  ["a count that is none", { misses: { LRU: { 20: 1.5 } } }, /misses\.LRU\["20"\]: 1\.5 is not allowed/],
  ["other requests", { requests: 5 }, /requests: 5 is not allowed\. Allowed: 6000, as in the trace/],
] as const) {
  test(`a table with ${what} is refused with the place`, async ({ folder, table }) => {
    writeFileSync(table, JSON.stringify({ ...own(), ...change }));
    assert.match(await failure([folder]), message);
  });
}

test.run();
