// At stake: a size or time that is read as another one gives a plausible, wrong run. Reading is checked by examples, by every
// mistake that it names, and by a property over random amounts.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { formatBytes, formatNs, parseSize, parseTime } from "#dist/units.js";
import { parameters } from "./reference/report.js";

const read = (value: number) => ({ ok: true, value });
const refuse = (problem: string) => ({ ok: false, problem });

test("a number is bytes or ns as it stands", () => {
  assert.equal(parseSize(4096), read(4096));
  assert.equal(parseTime(0), read(0));
});

test("sizes have binary units", () => {
  assert.equal(parseSize("12B"), read(12));
  assert.equal(parseSize("4KiB"), read(4096));
  assert.equal(parseSize("256MiB"), read(268_435_456));
  assert.equal(parseSize("1GiB"), read(1_073_741_824));
  assert.equal(parseSize(" 2 TiB "), read(2_199_023_255_552));
});

test("times have units from ns to min", () => {
  assert.equal(parseTime("10ns"), read(10));
  assert.equal(parseTime("80us"), read(80_000));
  assert.equal(parseTime("3ms"), read(3_000_000));
  assert.equal(parseTime("2s"), read(2_000_000_000));
  assert.equal(parseTime("1min"), read(60_000_000_000));
});

test("a fraction is accepted when it comes out whole", () => {
  assert.equal(parseSize("1.5GiB"), read(1_610_612_736));
  assert.equal(parseTime("1.5ms"), read(1_500_000));
  assert.equal(parseTime("0.001us"), read(1));
  assert.equal(parseSize("0.1KiB"), refuse('"0.1KiB" is not a whole number of bytes'));
  assert.equal(parseTime("1.5ns"), refuse('"1.5ns" is not a whole number of ns'));
  assert.equal(parseSize(1.5), refuse("1.5 is not a whole number of bytes"));
});

test("a decimal unit of bytes is refused with the binary one", () => {
  assert.equal(parseSize("256MB"), refuse('"256MB" has an unknown unit; did you mean "256MiB"?'));
  assert.equal(parseSize("1g"), refuse('"1g" has an unknown unit; did you mean "1GiB"?'));
  assert.equal(parseSize("64mib"), refuse('"64mib" has an unknown unit; did you mean "64MiB"?'));
});

test("an unknown unit of time is refused with the known one, if there is one", () => {
  assert.equal(parseTime("80µs"), refuse('"80µs" has an unknown unit; did you mean "80us"?'));
  assert.equal(parseTime("1.5sec"), refuse('"1.5sec" has an unknown unit; did you mean "1.5s"?'));
  assert.equal(parseTime("1h"), refuse('"1h" has an unknown unit'));
});

test("what is no quantity is refused", () => {
  assert.equal(parseSize("4096"), refuse('"4096" has no unit; did you mean 4096 without quotes?'));
  assert.equal(parseSize(""), refuse('"" is not a number with a unit'));
  assert.equal(parseSize("MiB"), refuse('"MiB" is not a number with a unit'));
  assert.equal(parseTime("1e3us"), refuse('"1e3us" is not a number with a unit'));
  assert.equal(parseTime("soon\n"), refuse('"soon\\n" is not a number with a unit'));
  assert.equal(parseSize(Number.NaN), refuse("NaN is not a number"));
});

test("negative and huge quantities are refused", () => {
  assert.equal(parseSize("-4KiB"), refuse('"-4KiB" is negative'));
  assert.equal(parseTime(-1), refuse("-1 is negative"));
  assert.equal(parseSize("9000TiB"), refuse('"9000TiB" is too large'));
  assert.equal(parseTime(Number.POSITIVE_INFINITY), refuse("Infinity is too large"));
  assert.equal(parseTime("9007199254740992ns"), refuse('"9007199254740992ns" is too large'));
});

test("every whole amount of every unit is read exactly", () => {
  const units: [string, (value: string) => unknown, number][] = [
    ["KiB", parseSize, 2 ** 10],
    ["MiB", parseSize, 2 ** 20],
    ["GiB", parseSize, 2 ** 30],
    ["us", parseTime, 1e3],
    ["ms", parseTime, 1e6],
  ];
  fc.assert(
    fc.property(fc.constantFrom(...units), fc.nat(8_000_000), ([unit, parse, factor], amount) => {
      assert.equal(parse(`${amount}${unit}`), read(amount * factor));
    }),
    parameters(100),
  );
});

test("sizes are printed in the largest unit that leaves at least 1", () => {
  assert.is(formatBytes(0), "0B");
  assert.is(formatBytes(1023), "1023B");
  assert.is(formatBytes(4096), "4KiB");
  assert.is(formatBytes(268_435_456), "256MiB");
  assert.is(formatBytes(1_610_612_736), "1.5GiB");
  assert.is(formatBytes(8 * 2 ** 40), "8TiB");
});

test("times are printed with three significant digits", () => {
  assert.is(formatNs(0), "0ns");
  assert.is(formatNs(90), "90ns");
  assert.is(formatNs(72_437), "72.4us");
  assert.is(formatNs(999_600), "1ms");
  assert.is(formatNs(1_500_000), "1.5ms");
  assert.is(formatNs(59_000_000_000), "59s");
  assert.is(formatNs(90_000_000_000), "1.5min");
  assert.is(formatNs(123_456 * 60e9), "123456min");
});

test.run();
