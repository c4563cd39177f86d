// Prints the public face of the package: what each entry exports, as its type declarations have it, without comments and without what is private or
// internal; then the types that are seen through it although no entry exports them, and the keys of a scenario. api.txt in the repository is this text
// and a test compares, so that a change of the API shows in review and nothing else does. The same walk finds what lacks a doc comment, a unit or
// its errors.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** The entries of package.json's `exports`, by the file that declares them. */
const ENTRIES = {
  ".": "index",
  "./inline": "inline",
  "./worker": "worker",
  "./report": "report/index",
  "./export": "export/index",
};

/** Words that tell what a number counts in. */
const UNITS =
  /\b(ns|ms|virtual times?|bytes|pages?|frames?|accesses|bits?|share|percent|counts?|number|numbers|times|how (many|often)|per second|index|place|id|seed|cpu|order|address|moved|attempts|requests|runs|states|steps?)\b/i;
const UNIT_NAME = /(Ns|Bytes|Pages|Pfn|Peak|PerSecond)$|^(pages|bytes|ns|count|gfn|pfn)$/;

/** The package's API: its `text`, and `lacks`, what is missing in its doc comments. */
export function api() {
  const schema = JSON.parse(readFileSync(join(ROOT, "dist", "schema.json"), "utf8"));
  return apiOf(join(ROOT, "dist"), ENTRIES, schema);
}

/** The API of the entries that the declarations in `folder` make, and of a scenario's schema. */
export function apiOf(folder, entries, schema) {
  const files = Object.values(entries).map((entry) => join(folder, `${entry}.d.ts`));
  const program = ts.createProgram(files, {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.esnext.disposable.d.ts"],
  });
  const walk = new Walk(program, folder);
  for (const [index, entry] of Object.keys(entries).entries()) walk.entry(entry, files[index]);
  walk.reached();
  if (schema !== undefined) walk.scenario(schema);
  return { text: `${walk.lines.join("\n").trimEnd()}\n`, lacks: walk.lacks };
}

class Walk {
  lines = [];
  lacks = [];
  #checker;
  #program;
  /** Symbols that are printed, with the entry that has them. */
  #printed = new Map();
  /** Declarations of the package that a printed one names. */
  #named = new Set();
  /** Where the package's own declarations are. */
  #folder;
  #printer = ts.createPrinter({ removeComments: true });

  constructor(program, folder) {
    this.#folder = folder;
    this.#program = program;
    this.#checker = program.getTypeChecker();
  }

  entry(entry, file) {
    const source = this.#program.getSourceFile(file);
    if (source === undefined) throw new Error(`${file} is missing; build first`);
    this.lines.push(`# ${entry}`, "");
    const symbols = this.#checker.getExportsOfModule(this.#checker.getSymbolAtLocation(source));
    for (const exported of symbols.sort(byName)) {
      const symbol = this.#resolve(exported);
      const already = this.#printed.get(symbol);
      if (already !== undefined) this.lines.push(`${exported.name}: as in ${already}`, "");
      else this.#print(symbol, entry);
    }
  }

  /** Types of the package that no entry exports and that the printed ones name. */
  reached() {
    this.lines.push("# not exported, but part of the above", "");
    while (true) {
      const open = [...this.#named].filter((symbol) => !this.#printed.has(symbol)).sort(byName);
      if (open.length === 0) return;
      for (const symbol of open) this.#print(symbol, "");
    }
  }

  /** The keys of a scenario: path, type or values, default. */
  scenario(schema) {
    this.lines.push("# ./schema.json", "");
    this.#keys("", schema);
  }

  #print(symbol, entry) {
    this.#printed.set(symbol, entry);
    for (const declaration of symbol.declarations ?? []) {
      // A constant's declaration is within a statement, which has the words before its name.
      const node = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
      const open = ts.isClassDeclaration(node) ? withoutPrivate(node) : node;
      this.lines.push(this.#printer.printNode(ts.EmitHint.Unspecified, open, node.getSourceFile()), "");
      this.#collect(open);
      this.#judge(symbol.name, open, node, { units: "", whole: false });
    }
  }

  #collect(node) {
    const name = ts.isTypeReferenceNode(node)
      ? node.typeName
      : ts.isExpressionWithTypeArguments(node)
        ? node.expression
        : undefined;
    const found = name && this.#checker.getSymbolAtLocation(name);
    const symbol = found && this.#resolve(found);
    // Parameters of a type are declared where they are used; what is made from the schema stands below.
    const ours = symbol?.declarations?.some(
      (one) => !ts.isTypeParameterDeclaration(one) && one.getSourceFile().fileName.startsWith(this.#folder),
    );
    if (ours) this.#named.add(symbol);
    ts.forEachChild(node, (child) => this.#collect(child));
  }

  #resolve(symbol) {
    return symbol.flags & ts.SymbolFlags.Alias ? this.#checker.getAliasedSymbol(symbol) : symbol;
  }

  /** Complains about what `node`'s comment lacks. `above`: the comments over it, and whether they describe it as a part of a whole. */
  #judge(path, node, commented, above) {
    const comment = commentOf(commented);
    const words = `${above.units} ${comment}`;
    if (comment === "" && !above.whole && !ts.isConstructorDeclaration(node))
      this.lacks.push(`${path}: no doc comment`);
    if (takesCalls(node) && !/@throws|Never throws/.test(comment))
      this.lacks.push(`${path}: does not say what it throws`);
    for (const part of [node, ...(node.parameters ?? [])]) {
      const name = part.name?.getText?.() ?? path;
      if (isNumber(part.type) && !UNITS.test(words) && !UNIT_NAME.test(name))
        this.lacks.push(`${path}: ${name} has no unit`);
    }
    for (const member of partsOf(node)) {
      const name = member.name?.getText() ?? "()";
      // The comment of a literal type's holder speaks for its parts; that of an interface may say what its numbers count in.
      const whole = ts.isTypeLiteralNode(member.parent) && (comment !== "" || above.whole);
      if (name !== "()") this.#judge(`${path}.${name}`, member, member, { units: words, whole });
    }
  }

  #keys(path, schema) {
    if (schema.type !== "object" && schema.type !== "array") {
      this.lines.push(
        `${path}: ${kindOf(schema)}${schema.default === undefined ? "" : ` = ${JSON.stringify(schema.default)}`}`,
      );
    }
    for (const one of schema.anyOf ?? schema.oneOf ?? [])
      if (one.properties ?? one.items) this.#keys(path, one);
    for (const [key, value] of Object.entries(schema.properties ?? {})) {
      this.#keys(`${path}${path && "."}${key}${(schema.required ?? []).includes(key) ? "" : "?"}`, value);
    }
    if (schema.items) this.#keys(`${path}[]`, schema.items);
  }
}

function kindOf(schema) {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const kinds = (schema.anyOf ?? schema.oneOf ?? []).map((one) => kindOf(one));
  return kinds.length > 0 ? [...new Set(kinds)].join(" | ") : String(schema.type ?? "any");
}

function withoutPrivate(node) {
  const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected;
  const members = node.members.filter(
    (member) =>
      (ts.getCombinedModifierFlags(member) & hidden) === 0 &&
      !(member.name && ts.isPrivateIdentifier(member.name)),
  );
  return ts.factory.updateClassDeclaration(
    node,
    node.modifiers,
    node.name,
    node.typeParameters,
    node.heritageClauses,
    members,
  );
}

function commentOf(node) {
  return ts
    .getJSDocCommentsAndTags(node)
    .map((one) => one.getText())
    .join(" ");
}

function takesCalls(node) {
  return ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node) || ts.isMethodSignature(node);
}

function isNumber(type) {
  return type?.kind === ts.SyntaxKind.NumberKeyword;
}

function partsOf(node) {
  if (ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node)) return node.members;
  const type = ts.isTypeAliasDeclaration(node) || ts.isPropertySignature(node) ? node.type : undefined;
  return literalsIn(type).flatMap(({ members }) => [...members]);
}

function literalsIn(type) {
  if (type === undefined) return [];
  if (ts.isTypeLiteralNode(type)) return [type];
  if (ts.isUnionTypeNode(type) || ts.isIntersectionTypeNode(type)) return type.types.flatMap(literalsIn);
  return ts.isArrayTypeNode(type) ? literalsIn(type.elementType) : [];
}

function byName(a, b) {
  return a.name < b.name ? -1 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { text, lacks } = api();
  process.stdout.write(text);
  for (const lack of lacks) process.stderr.write(`${lack}\n`);
}
