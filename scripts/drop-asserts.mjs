// A transform for asc: takes the assertions out of the release build. `--noAssert` alone drops only the trap: what a condition loads
// and calls is still done, in every pageOf(). An assertion has no effect but to stop, so without it nothing else changes.

import { Node, NodeKind } from "assemblyscript";
import { Transform } from "assemblyscript/transform";

function isAssert(node) {
  if (node?.kind !== NodeKind.Expression || node.expression?.kind !== NodeKind.Call) return false;
  const callee = node.expression.expression;
  return callee.kind === NodeKind.Identifier && callee.text === "assert";
}

/** Replaces every assertion below `node`, which is any part of the syntax tree. */
function drop(node, seen) {
  if (node === null || typeof node !== "object" || seen.has(node)) return;
  seen.add(node);
  for (const [key, part] of Object.entries(node)) {
    if (isAssert(part)) node[key] = Node.createEmptyStatement(part.range);
    else if (key !== "range" && key !== "source" && !(part instanceof Map)) drop(part, seen);
  }
}

export default class DropAsserts extends Transform {
  afterParse(parser) {
    for (const source of parser.sources) {
      if (source.normalizedPath.startsWith("assembly/")) drop(source.statements, new Set());
    }
  }
}
