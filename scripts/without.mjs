// A transform for asc: leaves a part of the core out, for the bench to tell what it costs to have it. The environment says which one, as WITHOUT.
//
//   explorer      what only the explorer exports
//   records       records of tracepoints: emission points only count
//   tracepoints   emission points, with their counters
//   integrity     contents that are checked

import { Node, NodeKind } from "assemblyscript";
import { Transform } from "assemblyscript/transform";

const nothing = () => [];
const no = (_, range) => [Node.createReturnStatement(Node.createFalseExpression(range), range)];
/** Does what it did, and then says no. */
const saysNo = (statements, range) => [...statements.slice(0, -1), ...no(statements, range)];

/** By part, file and function: the body that takes the place of the one that is there. */
const BODIES = {
  records: { "assembly/sim/trace.ts": { happened: saysNo, traceRecords: no } },
  tracepoints: {
    "assembly/sim/trace.ts": { emit: nothing, count: nothing, happened: no, traceRecords: no },
  },
  integrity: {
    "assembly/kvm/vm.ts": { vmExpected: no },
    "assembly/mm/instance.ts": { mmStamped: no },
  },
};

function replaceBodies(source, bodies) {
  for (const [name, body] of Object.entries(bodies)) {
    const found = source.statements.find(
      (each) => each.kind === NodeKind.FunctionDeclaration && each.name.text === name,
    );
    if (found === undefined) throw new Error(`${source.normalizedPath} has no ${name}()`);
    found.body.statements = body(found.body.statements, found.body.range);
  }
}

function dropExports(source, path) {
  const kept = source.statements.filter(
    (each) => each.kind !== NodeKind.Export || !each.path?.value.startsWith(path),
  );
  if (kept.length === source.statements.length) throw new Error(`${source.normalizedPath}: no ${path}`);
  source.statements = kept;
}

export default class Without extends Transform {
  afterParse(parser) {
    const part = process.env.WITHOUT;
    const bodies = BODIES[part];
    if (bodies === undefined && part !== "explorer") throw new Error(`WITHOUT=${part}: no such part`);
    for (const source of parser.sources) {
      const path = source.normalizedPath;
      if (bodies?.[path] !== undefined) replaceBodies(source, bodies[path]);
      if (part === "explorer" && path === "assembly/index.ts") dropExports(source, "./machine/explore");
    }
  }
}
