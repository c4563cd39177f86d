// JSON text to a value, with the place of the first mistake: JSON.parse does not always tell one.

import { PagevisorError } from "./errors.js";

const SPACE = /[ \t\n\r]*/y;
const LITERAL = /(?:true|false|null)(?![\w])/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])/y;
const STRING = /"(?:[^"\\\p{Cc}]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/uy;

interface Mistake {
  offset: number;
  expected: string;
}

/**
 * Parses `text`, the content of `file`.
 *
 * @param line the line of `file` on which `text` begins
 * @throws PagevisorError `E_FILE`: one line with file, line, column, what stands there and what is allowed
 */
export function parseJson(text: string, file: string, line = 1): unknown {
  const plain = text.startsWith("\uFEFF") ? text.slice(1) : text;
  try {
    return JSON.parse(plain);
  } catch (error) {
    const mistake = findMistake(plain);
    const place = mistake === null ? file : `${file}:${lineAndColumn(plain, mistake.offset, line)}`;
    const problem =
      mistake === null
        ? (error as Error).message
        : `expected ${mistake.expected}, found ${found(plain, mistake.offset)}`;
    throw new PagevisorError("E_FILE", `${place}: not JSON: ${problem}`, { cause: error });
  }
}

function lineAndColumn(text: string, offset: number, line: number): string {
  const before = text.slice(0, offset).split("\n");
  return `${line + before.length - 1}:${(before.at(-1) ?? "").length + 1}`;
}

function found(text: string, offset: number): string {
  if (offset >= text.length) return "the end of the file";
  if (text.startsWith("//", offset) || text.startsWith("/*", offset)) return "a comment (JSON has none)";
  const word = /^(?:\w+|.)/u.exec(text.slice(offset, offset + 20))?.[0] ?? "";
  return JSON.stringify(word);
}

/** The first place where `text` stops being JSON, or null when it is JSON. */
function findMistake(text: string): Mistake | null {
  const open: ("}" | "]")[] = [];
  let offset = 0;
  let expected: "value" | "value or ]" | "key" | "key or }" | "after value" = "value";

  const take = (pattern: RegExp): boolean => {
    pattern.lastIndex = offset;
    if (!pattern.test(text)) return false;
    offset = pattern.lastIndex;
    return true;
  };
  const takeChar = (char: string): boolean => {
    if (text[offset] !== char) return false;
    offset += 1;
    return true;
  };

  for (;;) {
    take(SPACE);
    if (expected === "after value") {
      const closer = open.at(-1);
      if (closer === undefined) {
        return offset === text.length ? null : { offset, expected: "nothing more" };
      }
      if (takeChar(closer)) open.pop();
      else if (takeChar(",")) expected = closer === "}" ? "key" : "value";
      else return { offset, expected: `"," or "${closer}"` };
    } else if (expected === "key" || expected === "key or }") {
      if (expected === "key or }" && takeChar("}")) {
        open.pop();
        expected = "after value";
        continue;
      }
      if (!take(STRING)) return { offset, expected: "a key in double quotes" };
      take(SPACE);
      if (!takeChar(":")) return { offset, expected: '":"' };
      expected = "value";
    } else if (expected === "value or ]" && takeChar("]")) {
      open.pop();
      expected = "after value";
    } else if (takeChar("{")) {
      open.push("}");
      expected = "key or }";
    } else if (takeChar("[")) {
      open.push("]");
      expected = "value or ]";
    } else if (take(STRING) || take(NUMBER) || take(LITERAL)) {
      expected = "after value";
    } else {
      return { offset, expected: "a value" };
    }
  }
}
