// The scenario's keys for memory that a guest gives back: how it tells of free pages, its balloon, and the device of the host.

import * as v from "valibot";
import { choice, count, flag, list, maybe, object, powerOfTwo, size, time } from "./values.js";

/** Places of each array of hinting-2019, as in the patch; the core has room for no more. */
export const HINTING_ENTRIES = 1000;

export const freePagesSchema = object("How the guest tells the host about free memory.", {
  design: choice("Free page hinting or reporting.", {
    values: ["off", "hinting-2019", "hinting-2019-min-order", "reporting", "oracle"],
    aliases: { upstream: "reporting" },
  }),
  pagePoison: v.optional(
    flag(
      "Free pages of the guest hold a pattern. It does not report them to a host without page-poison; a host with it is told of the pattern and drops nothing.",
    ),
    false,
  ),
  initOnFree: v.optional(
    flag(
      "Free pages of the guest hold zeroes (init_on_free). It does not report them to a host without page-poison.",
    ),
    false,
  ),
  minOrder: maybe(
    count(
      "Least order of a block that is told. Default: 9 for reporting, 10 for hinting-2019-min-order; 0, and nothing else, for the other designs.",
      { min: 0, max: 10 },
    ),
  ),
  arrayEntries: maybe(
    count(
      "Places of each array of hinting-2019 and hinting-2019-min-order. Default: 1000, as in the patch; nothing else for the other designs.",
      { min: 1, max: HINTING_ENTRIES },
    ),
  ),
});

export const balloonSchema = object("A virtio balloon: pages that the guest lends to the host.", {
  target: maybe(size("Memory that the balloon shall hold. Absent: none.")),
  deflateOnOom: v.optional(
    flag(
      "The driver knows deflate-on-oom: pages of the balloon come back when the guest has no memory left.",
    ),
    false,
  ),
});

/** Feature bits of a balloon device, by their number; two designs claim bit 5. */
export const FEATURES = [
  "must-tell-host",
  "stats",
  "deflate-on-oom",
  "free-page-hint",
  "page-poison",
  "reporting",
] as const;

export const balloonDeviceSchema = object(
  "The host's side of the virtio balloon device. Absent: it offers what the guest's freePages and balloon can use.",
  {
    offers: list(
      "Feature bits that the device offers; those that the guest's driver accepts decide which queues there are.",
      "feature",
      choice("A feature. reporting and hinting-2019 are the same bit, 5, and one device has one of them.", {
        values: [...FEATURES, "hinting-2019"],
      }),
    ),
    ring: v.optional(
      powerOfTwo("Descriptors of each queue. Reporting needs 32.", { min: 2, max: 1024 }),
      128,
    ),
    statsInterval: maybe(
      time("The host asks for the guest's statistics so long after it got them. Absent: never.", { min: 1 }),
    ),
  },
);
