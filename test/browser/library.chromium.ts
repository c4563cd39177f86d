// At stake: that a run in a browser is the run in Node. The README's library example, the scenario of `npm start` and a worker are run in
// Chromium from the package's own files, once with an import map, once from the one file of pagevisor/inline; what they print and their
// digests must be Node's. Not part of `npm test`, which needs no browser: npm run chromium.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Machine } from "#dist/node.js";
import { create, example, ROOT, small } from "../scenes.js";
import { openStage, type Stage } from "./chromium.js";

interface Context {
  stage: Stage;
}

const test = suite<Context>("");
test.before(async (context) => {
  context.stage = await openStage();
});
test.after(({ stage }) => stage.close());

const IMPORTS = {
  pagevisor: "/dist/index.js",
  "pagevisor/inline": "/dist/inline.js",
  "pagevisor/worker": "/dist/worker.js",
  "@assemblyscript/loader": "/node_modules/@assemblyscript/loader/index.js",
  valibot: "/node_modules/valibot/dist/index.mjs",
};
const MAP = `<script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>`;

// Set up before the module runs: what it calls `answer` with, and what goes wrong before it does.
const ANSWER = `<script>
  const answered = new Promise((resolve, reject) => {
    window.answer = resolve;
    // Seen on its way down: a module that cannot be loaded tells its element alone.
    window.addEventListener("error", ({ message }) => reject(new Error(message ?? "a module was not loaded")), true);
    window.onunhandledrejection = ({ reason }) => reject(reason);
  });
</script>`;

/** Runs a module in a new page and gives back what its `answer()` was called with. */
async function answerOf(stage: Stage, script: string, head = MAP): Promise<unknown> {
  const page = await stage.show(
    `<!doctype html><title>pagevisor</title>${head}${ANSWER}<script type="module">${script}</script>`,
  );
  try {
    return await page.evaluate("answered");
  } finally {
    await page.close();
  }
}

/** The README's library example as JavaScript that gives out what it prints and its two digests. */
function readmeExample(from: string): string {
  const [, code] = /^```ts\n(.*?)^```$/ms.exec(readFileSync(join(ROOT, "README.md"), "utf8"))!;
  return `const lines = [];
const console = { log: (line) => lines.push(line) };
${code!.replaceAll("]!", "]").replace('"pagevisor"', JSON.stringify(from))}
answer({ lines, digests: [machine, limited].map((one) => one.result().digest) });`;
}

async function inNode(script: string): Promise<unknown> {
  const AsyncFunction = (async () => {}).constructor as new (
    ...names: string[]
  ) => (...values: unknown[]) => Promise<unknown>;
  let given: unknown;
  const answer = (value: unknown): void => {
    given = value;
  };
  await new AsyncFunction("Machine", "answer", script.replace(/^import .*$/gm, ""))(Machine, answer);
  return given;
}

test("the README's example prints in Chromium what it prints in Node, with the same digests", async ({
  stage,
}) => {
  const expected = (await inNode(readmeExample("pagevisor"))) as { lines: string[]; digests: string[] };
  assert.is(expected.lines.length, 2);
  assert.is(new Set(expected.digests).size, 2);
  assert.equal(await answerOf(stage, readmeExample("pagevisor")), expected);
  const asked = stage.requests.length;
  assert.equal(await answerOf(stage, readmeExample("/dist/inline.js"), ""), expected);
  const inline = stage.requests.slice(asked).filter((path) => /\.(js|wasm)$/.test(path));
  assert.equal(inline, ["/dist/inline.js"], "it is one file");
});

test("the scenario of npm start has in Chromium and in a worker the digest that it has in Node", async ({
  stage,
}) => {
  const machine = await create(example());
  const { digest, accesses } = machine.run();
  const script = `import { Machine } from "pagevisor";
import { runInWorker } from "pagevisor/worker";
const scenario = await (await fetch("/examples/overcommit.json")).json();
const files = async (name) => new Uint8Array(await (await fetch("/examples/" + name)).arrayBuffer());
const here = (await Machine.create(scenario, { files })).run();
const shares = [];
const there = await runInWorker(scenario, { files, onProgress: ({ accesses }) => shares.push(accesses) });
answer([here, there].map(({ digest, accesses }) => ({ digest, accesses })).concat(shares.length > 2));`;
  assert.equal(await answerOf(stage, script), [{ digest, accesses }, { digest, accesses }, true]);
});

test("a worker in Chromium stops when it is told, and a page that lacks a file or a script says so", async ({
  stage,
}) => {
  const [endless] = small(1000);
  const script = `import { runInWorker } from "pagevisor/worker";
const db = { name: "db", memory: "1MiB", guest: { tasks: [{ workload: { kind: "uniform", pages: 100 } }] } };
const scenario = { host: { memory: "4MiB" }, vms: [db] };
const interrupt = new AbortController();
let abortedAt = 0;
const result = await runInWorker(scenario, { limit: { accesses: 1e12 }, signal: interrupt.signal,
  onProgress: ({ accesses }) => { if (!abortedAt && accesses > 0) { abortedAt = performance.now(); interrupt.abort(); } } });
const took = performance.now() - abortedAt;
const codes = [];
for (const [given, options] of [
  [scenario, {}],
  [{ ...scenario, host: {} }, {}],
  [${JSON.stringify(endless)}, {}],
  [scenario, { thread: "/nowhere.js", limit: { accesses: 1 } }],
]) await runInWorker(given, options).catch(({ code }) => codes.push(code));
answer({ status: result.status, some: result.accesses > 0, took, codes });`;
  const { took, ...others } = (await answerOf(stage, script)) as { took: number };
  assert.equal(others, {
    status: "interrupted",
    some: true,
    codes: ["E_ENDLESS", "E_SCENARIO", "E_FILE", "E_FILE"],
  });
  assert.ok(took < 2000, `${took} ms`); // the machine may be busy; test/worker.test.ts has the promise
});

test.run();
