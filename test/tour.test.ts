// At stake: that what docs/tour.md tells a newcomer to type works, and prints what the page says it prints. Each task's commands are run in an
// empty folder of their own, where the package is linked instead of installed (pack.test.ts installs it). Figures may be those of an earlier state
// of the model: words and rows are compared. TOUR_WRITE=1 writes into the page what the commands have printed.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ROOT } from "./scenes.js";

const PAGE = join(ROOT, "docs/tour.md");
const page = readFileSync(PAGE, "utf8");
let written = page;

interface Block {
  commands: string;
  /** What the page says that they print; undefined where it says nothing. */
  printed: string | undefined;
}

interface Task {
  title: string;
  blocks: Block[];
}

/** Headings with the commands below them; what stands before the first heading installs the package. */
function tasksOf(text: string): Task[] {
  return text
    .split(/^## /m)
    .slice(1)
    .map((part) => ({
      title: part.slice(0, part.indexOf("\n")),
      blocks: [...part.matchAll(/^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?/gms)].map(
        ([, commands, printed]) => ({ commands: commands!, printed }),
      ),
    }));
}

// What npx does with a package that is there, without the second that npm takes to find that out.
const NPX = 'npx() { "node_modules/.bin/$@"; }';

/** An empty project that has the package. */
function project(): string {
  const folder = mkdtempSync(join(tmpdir(), "pagevisor-tour-"));
  mkdirSync(join(folder, "node_modules/.bin"), { recursive: true });
  symlinkSync(ROOT, join(folder, "node_modules/pagevisor"));
  symlinkSync("../pagevisor/dist/cli.js", join(folder, "node_modules/.bin/pagevisor"));
  writeFileSync(join(folder, "package.json"), "{}");
  return folder;
}

function shell(commands: string, cwd: string): string {
  const { status, stdout, stderr } = spawnSync("bash", ["-e", "-c", `${NPX}\n${commands}`], {
    cwd,
    encoding: "utf8",
  });
  assert.is(status, 0, `${commands}\n${stderr}`);
  return stdout;
}

/** A text without its figures, and without what stands for one: line by line. */
function words(text: string): string {
  return text
    .split("\n")
    .map((line) =>
      line
        .split(/\s+/)
        .filter((word) => !/\d|^[=–]$|^from$|^digest$/.test(word))
        .join(" "),
    )
    .join("\n");
}

const tasks = tasksOf(page);

test("there is a task for each reader, and each shows what it prints", () => {
  assert.equal(
    tasks.map(({ title }) => title),
    [
      "Compare two designs",
      "Find the knee",
      "Step one fault and read its story",
      "Embed it in an empty project",
    ],
  );
  for (const { title, blocks } of tasks) {
    assert.ok(
      blocks.some(({ printed }) => printed !== undefined),
      title,
    );
  }
  assert.match(page, /^npm install pagevisor$/m);
});

for (const { title, blocks } of tasks) {
  test(title, () => {
    const folder = project();
    try {
      for (const { commands, printed } of blocks) {
        const output = shell(commands, folder).replace(/\n*$/, "\n");
        if (printed === undefined) continue;
        if (process.env.TOUR_WRITE === undefined)
          assert.is(words(output), words(printed), "TOUR_WRITE=1 writes the page anew");
        else
          written = written.replace(
            `${commands}\`\`\`\n\n\`\`\`text\n${printed}`,
            () => `${commands}\`\`\`\n\n\`\`\`text\n${output}`,
          );
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test.after(() => {
  if (written !== page) writeFileSync(PAGE, written);
});

test.run();
