// At stake: a report that is opened. It must draw without an error and without a request, be reached and read with the keyboard alone, and
// change what it shows when it is asked to.

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { recordRun, reportHtml } from "#dist/report/index.js";
import { create, example } from "../scenes.js";
import { openStage, type Stage } from "./chromium.js";

const test = suite<{ stage: Stage }>("");
test.before(async (context) => {
  context.stage = await openStage();
});
test.after(({ stage }) => stage.close());

const html = reportHtml(
  await recordRun(await create({ ...example(), host: { ...example().host, memory: "24MiB" } }), {
    moments: 100,
    limit: { accesses: 2_000_000 },
  }),
);

test("it draws, asks for nothing, and reads out values to who has no mouse", async ({ stage }) => {
  const page = await stage.show(html);
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.reload();
  assert.equal(
    stage.requests.filter((path) => !/^\/page-|favicon/.test(path)),
    [],
  );
  const charts = page.locator(".chart");
  assert.is(await charts.count(), 3 + 2 + 2 + 2);
  for (const painted of (await page.evaluate(`[...document.querySelectorAll("canvas")].map((canvas) =>
    new Set(new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size)`)) as number[]) {
    assert.ok(painted > 5, "a chart is empty");
  }

  const reached: string[] = [];
  for (let press = 0; press < 40; press++) {
    await page.keyboard.press("Tab");
    reached.push(
      await page.evaluate(
        "document.activeElement.getAttribute('aria-label') ?? document.activeElement.tagName",
      ),
    );
    if (reached.at(-1)!.startsWith("Host: chart")) {
      await page.keyboard.press("End");
      await page.keyboard.press("ArrowLeft");
      const text = await charts.first().locator(".readout").textContent();
      assert.match(
        text!,
        /^At [\d.]+ ms: guests [\d.]+ MiB, tables, swap cache, other [\d.]+ MiB, free [\d.]+ MiB$/,
      );
      await page.keyboard.press("Home");
      assert.is.not(await charts.first().locator(".readout").textContent(), text);
    }
  }
  for (const wanted of [
    "Host: chart",
    "Guest cache: chart",
    "SELECT",
    "INPUT",
    "vCPU cache/0: chart",
    "Faults",
    "SUMMARY",
  ]) {
    assert.ok(
      reached.some((label) => label.startsWith(wanted)),
      `${wanted} in ${reached.join("; ")}`,
    );
  }

  const titles = page.locator("#latency h3");
  assert.match((await titles.first().textContent())!, "cache: major faults");
  await page.locator("#latency select").selectOption({ label: "sqlite: minor faults" });
  assert.match((await titles.first().textContent())!, "sqlite: minor faults");
  await page.locator("#vcpus input").first().uncheck();
  assert.is(await page.locator("#vcpus .chart").count(), 1);
  assert.equal(errors, []);
  await page.close();
});

test.run();
