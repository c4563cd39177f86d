// When output is coloured.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { wantsColor } from "#dist/cli/terminal.js";

test("colour needs a terminal that can, and nobody who objects", () => {
  assert.is(wantsColor(true, { TERM: "xterm" }), true);
  assert.is(wantsColor(false, { TERM: "xterm" }), false);
  assert.is(wantsColor(true, { TERM: "xterm", NO_COLOR: "1" }), false);
  assert.is(wantsColor(true, { TERM: "dumb" }), false);
});

test("a build server does not colour what is piped", () => {
  assert.is(wantsColor(false, { CI: "true", FORCE_COLOR: "1" }), false);
});

test.run();
