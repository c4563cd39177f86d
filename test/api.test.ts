// At stake: what others build on. Every public symbol says what it is, what its numbers count in and what it throws; and the text of the API,
// which shows what a change changes, follows from declarations alone.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ROOT } from "./scenes.js";

interface Api {
  text: string;
  lacks: string[];
}
const { api, apiOf } = (await import(join(ROOT, "scripts/api.mjs"))) as {
  api: () => Api;
  apiOf: (folder: string, entries: Record<string, string>) => Api;
};

const whole = api();

test("every public symbol has a doc comment with its units and its errors", () => {
  assert.equal(whole.lacks, []);
});

/** The API of a package whose only entry declares `text`. */
function declared(text: string): Api {
  const folder = mkdtempSync(join(tmpdir(), "pagevisor-api-"));
  try {
    writeFileSync(
      join(folder, "hidden.d.ts"),
      "/** Seen. */\nexport interface Hidden {\n  /** ns */\n  at: number;\n}\n",
    );
    writeFileSync(join(folder, "index.d.ts"), text);
    return apiOf(folder, { ".": "index" });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const CLASS = `import type { Hidden } from "./hidden.js";
/** A door. */
export declare class Door {
    #private;
    private constructor();
    private key;
    /** Opens it. @throws PagevisorError E_STEP */
    open(): Hidden;
}
`;

test("api.txt is the API; `npm run api` writes it", () => {
  const written = readFileSync(join(ROOT, "api.txt"), "utf8").split("\n");
  const lines = whole.text.split("\n");
  const different = lines.findIndex((line, index) => line !== written[index]);
  assert.is(different, -1, `line ${different + 1}: ${lines[different]}; npm run build && npm run api`);
  assert.is(lines.length, written.length);
});

test("what a comment lacks is found", () => {
  assert.equal(declared(CLASS).lacks, []);
  assert.equal(declared(CLASS.replace("@throws PagevisorError E_STEP", "")).lacks, [
    "Door.open: does not say what it throws",
  ]);
  assert.equal(declared(CLASS.replace("/** A door. */", "")).lacks, ["Door: no doc comment"]);
  assert.equal(
    declared(
      "/** A thing. */\nexport interface Thing {\n  /** Its width. */\n  width: number;\n  height: { bytes: number };\n}\n",
    ).lacks,
    ["Thing.width: width has no unit", "Thing.height: no doc comment", "Thing.height.bytes: no doc comment"],
  );
});

test("the text has what is seen through an entry, and neither comments nor what is private", () => {
  const { text } = declared(CLASS);
  assert.match(text, /export declare class Door \{\n {4}open\(\): Hidden;\n\}/);
  assert.match(
    text,
    /# not exported, but part of the above\n\nexport interface Hidden \{\n {4}at: number;\n\}/,
  );
  assert.is(declared(CLASS.replace("A door", "A gate").replace("private key", "private lock")).text, text);
  assert.is.not(declared(CLASS.replace("open()", "open(width?: string)")).text, text);
});

test("the text is the same every time, and begins with what users meet", () => {
  assert.is(api().text, whole.text);
  for (const line of [
    "# .",
    "export declare class Machine extends SteppedMachine {",
    "host.memory: number | string",
  ]) {
    assert.ok(whole.text.split("\n").includes(line), line);
  }
});

test.run();
