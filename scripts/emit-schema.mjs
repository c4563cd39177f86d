// Writes the JSON Schema of the scenario to the file named on the command line: node scripts/emit-schema.mjs dist/schema.json
// The schema is the one that the library checks with (dist/schema.js), so it cannot say anything else.

import { writeFileSync } from "node:fs";
import { toJsonSchema } from "@valibot/to-json-schema";
import { scenarioSchema } from "../dist/schema.js";

const [, , file] = process.argv;
if (file === undefined) {
  console.error("usage: node scripts/emit-schema.mjs FILE");
  process.exit(2);
}

const schema = toJsonSchema(scenarioSchema, {
  target: "draft-2020-12",
  typeMode: "input",
  ignoreActions: ["finite"], // every number of JSON is
  overrideAction: ({ valibotAction, jsonSchema }) =>
    valibotAction.type === "metadata" ? describe(valibotAction.metadata, jsonSchema) : null,
  overrideSchema: ({ valibotSchema, jsonSchema }) =>
    valibotSchema.type === "nullish" ? hoist(jsonSchema) : null,
});
const dialect = "https://json-schema.org/draft/2020-12/schema";
writeFileSync(
  file,
  `${JSON.stringify({ $schema: dialect, title: "pagevisor scenario", ...schema }, null, 2)}\n`,
);

/** The meaning of a key, and in words what it may hold where the JSON Schema does not say it: units, letters of a name. */
function describe({ description, allowed }, { allowed: _, later: __, description: ___, ...jsonSchema }) {
  const unsaid = jsonSchema.anyOf !== undefined || jsonSchema.pattern !== undefined;
  return { description: unsaid ? `${description} Allowed: ${allowed}.` : description, ...jsonSchema };
}

/** Brings the meaning of a key that may be null to the key itself, where editors and readers look for it. */
function hoist(jsonSchema) {
  const [{ description, ...value }, ...others] = jsonSchema.anyOf;
  return { description, ...jsonSchema, anyOf: [value, ...others] };
}
