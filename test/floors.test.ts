// At stake: the order of the floors, which is what lets a reader understand one folder at a time. Read from the sources themselves:
// who imports whom, in the core and in the bindings, and what every file of the core begins with.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const ROOT = join(dirname(fileURLToPath(import.meta.resolve("#dist/index.js"))), "..");

/** Folders of the core, the lowest floor first. A file imports from its own folder and from those before it. */
const FLOORS = ["memory", "sim", "policy", "mm", "kvm", "guest", "workload", "machine"];
/** Files that are used from outside: by the compiler, by users of the package, as the executable, as a thread. */
const ENTRIES = [
  "assembly/index.ts",
  "bindings/cli.ts",
  "bindings/export/index.ts",
  "bindings/index.ts",
  "bindings/inline.ts",
  "bindings/node.ts",
  "bindings/report/index.ts",
  "bindings/report/page/main.ts",
  "bindings/sweep/worker.ts",
  "bindings/worker.ts",
  "bindings/workerthread.ts",
];
/** Files of the library that only Node reads; no other one may import them or anything of Node. */
const NODE_ONLY = ["bindings/node.ts", "bindings/sweep/threads.ts", "bindings/sweep/worker.ts"];
const LINES_MAX = 400;

interface Import {
  /** As it is written. */
  from: string;
  /** The file it names, relative to the package; undefined for a package. */
  file: string | undefined;
  /** Only types are imported: nothing is left of it at run time. */
  typeOnly: boolean;
}

interface Source {
  text: string;
  imports: Import[];
}

const IMPORT =
  /^(?:import|export)\s+(type\s)?[^;"']*?from\s+["']([^"']+)["'];?|\bimport\(\s*["']([^"']+)["']\s*\)/gms;

function importsOf(path: string, text: string): Import[] {
  return [...text.matchAll(IMPORT)].map(([, type, named, dynamic]) => {
    const from = (named ?? dynamic)!;
    const target = normalize(join(dirname(path), from));
    const file = from.startsWith(".") ? `${target.replace(/\.(js|ts)$/, "")}.ts` : undefined;
    return { from, file, typeOnly: type !== undefined };
  });
}

function sourcesOf(folder: string): Map<string, Source> {
  const found = new Map<string, Source>();
  for (const entry of readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
    const path = relative(ROOT, join(entry.parentPath, entry.name));
    const text = readFileSync(join(ROOT, path), "utf8");
    found.set(path, { text, imports: importsOf(path, text) });
  }
  return found;
}

const assembly = sourcesOf("assembly");
const bindings = sourcesOf("bindings");
const all = new Map([...assembly, ...bindings]);

/** The floor of a file of the core; index.ts stands above all. */
function floorOf(path: string): number {
  if (path === "assembly/index.ts") return FLOORS.length;
  const folder = path.split("/")[1]!;
  const floor = FLOORS.indexOf(folder);
  assert.ok(floor >= 0 && path.split("/").length === 3, `${path}: not in a folder of a floor`);
  return floor;
}

/** A cycle of imports among `sources` that exist at run time, as its files in order; undefined when there is none. */
function cycleIn(sources: Map<string, Source>): string[] | undefined {
  const done = new Set<string>();
  const visit = (path: string, trail: string[]): string[] | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return undefined;
    for (const { file, typeOnly } of sources.get(path)?.imports ?? []) {
      const cycle = file === undefined || typeOnly ? undefined : visit(file, [...trail, path]);
      if (cycle !== undefined) return cycle;
    }
    done.add(path);
    return undefined;
  };
  for (const path of sources.keys()) {
    const cycle = visit(path, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

test("the sources are found and their imports are read", () => {
  assert.ok(assembly.size > 50 && bindings.size > 30);
  for (const floor of FLOORS) {
    assert.ok(
      [...assembly.keys()].some((path) => path.startsWith(`assembly/${floor}/`)),
      floor,
    );
  }
  const made = importsOf(
    "bindings/cli/a.ts",
    'import { x } from "../b.js";\nimport type { Y } from "./c.js";\nexport {\n  z,\n} from "pkg";\nawait import("./d.js");\n',
  );
  assert.equal(made, [
    { from: "../b.js", file: "bindings/b.ts", typeOnly: false },
    { from: "./c.js", file: "bindings/cli/c.ts", typeOnly: true },
    { from: "pkg", file: undefined, typeOnly: false },
    { from: "./d.js", file: "bindings/cli/d.ts", typeOnly: false },
  ]);
});

test("every import names a file that exists", () => {
  for (const [path, { imports }] of all) {
    for (const { from, file } of imports) {
      if (file !== undefined) assert.ok(all.has(file), `${path}: ${from}`);
    }
  }
});

test("a file of the core imports from its own floor and from floors below, and nothing else", () => {
  for (const [path, { imports }] of assembly) {
    for (const { from, file } of imports) {
      assert.ok(file?.startsWith("assembly/"), `${path} imports ${from}`);
      assert.ok(floorOf(file!) <= floorOf(path), `${path} imports ${from}, from above`);
    }
  }
});

test("imports go round in no circle", () => {
  const made = (imports: [string, string, boolean?][]): Map<string, Source> => {
    const sources = new Map(
      imports.flat().map((path) => [String(path), { text: "", imports: [] as Import[] }]),
    );
    for (const [path, file, typeOnly = false] of imports)
      sources.get(path)!.imports.push({ from: "", file, typeOnly });
    return sources;
  };
  assert.equal(
    cycleIn(
      made([
        ["a", "b"],
        ["b", "c"],
        ["c", "b"],
      ]),
    ),
    ["b", "c", "b"],
  );
  assert.is(
    cycleIn(
      made([
        ["a", "b"],
        ["b", "a", true],
        ["a", "c"],
        ["b", "c"],
      ]),
    ),
    undefined,
  );
  assert.is(cycleIn(assembly)?.join(" → "), undefined);
  assert.is(cycleIn(bindings)?.join(" → "), undefined);
});

test("nobody keeps a file that nobody imports", () => {
  const used = new Set([...all.values()].flatMap(({ imports }) => imports.map(({ file }) => file)));
  const unused = [...all.keys()].filter((path) => !used.has(path) && !ENTRIES.includes(path));
  assert.equal(unused, []);
});

test("one file of the bindings knows the loader, none knows the core's sources", () => {
  for (const [path, { imports }] of bindings) {
    for (const { from, file } of imports) {
      if (from.startsWith("@assemblyscript/")) assert.is(path, "bindings/core.ts");
      if (file !== undefined) assert.ok(file.startsWith("bindings/"), `${path} imports ${from}`);
    }
  }
});

test("the library does not import the command line", () => {
  for (const [path, { imports }] of bindings) {
    if (path.startsWith("bindings/cli")) continue;
    for (const { from, file } of imports) {
      assert.not.ok(file?.startsWith("bindings/cli"), `${path} imports ${from}`);
      if (NODE_ONLY.includes(path)) continue;
      assert.not.ok(from.startsWith("node:"), `${path} imports ${from}, which a browser does not have`);
      assert.not.ok(
        file !== undefined && NODE_ONLY.includes(file),
        `${path} imports ${file}, which only Node reads`,
      );
    }
  }
});

/** The packages that `entry` and what it imports need at run time, however they are imported. */
function packagesOf(entry: string): string[] {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const { from, file, typeOnly } of bindings.get(path)!.imports) {
      if (typeOnly) continue;
      if (file === undefined) packages.add(from);
      else visit(file);
    }
  };
  visit(entry);
  return [...packages].sort();
}

test("the library needs the loader and the schema library, sweeps in threads their pool, the thread of a page nothing else", () => {
  for (const entry of ["index", "inline", "worker", "workerthread"]) {
    assert.equal(packagesOf(`bindings/${entry}.ts`), ["@assemblyscript/loader", "valibot"], entry);
  }
  assert.equal(packagesOf("bindings/report/index.ts"), []);
  assert.equal(packagesOf("bindings/export/index.ts"), ["@bufbuild/protobuf/wire"]);
  assert.equal(packagesOf("bindings/node.ts"), ["@assemblyscript/loader", "node:os", "piscina", "valibot"]);
});

test("after its imports, every file of the core says what it models", () => {
  for (const [path, { text }] of assembly) {
    const body = text.replace(IMPORT, "").trimStart();
    assert.match(body, /^\/\/ \S.{20,}/, path);
  }
});

test(`no file is longer than ${LINES_MAX} lines`, () => {
  for (const [path, { text }] of all) {
    const lines = text.trimEnd().split("\n").length;
    assert.ok(lines <= LINES_MAX, `${path} has ${lines} lines`);
  }
});

test.run();
