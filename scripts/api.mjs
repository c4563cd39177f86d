// Prints the public face of the package: what each entry exports, as its type declarations have it, without comments. api.txt in the repository
// is this text, and a test compares, so that a change of the API shows in review and nothing else does.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const ENTRIES = ["index", "inline", "worker", "report/index", "export/index"];

/** The report, from dist/. */
export function apiReport() {
  const files = ENTRIES.map((entry) => join(ROOT, "dist", `${entry}.d.ts`));
  const program = ts.createProgram(files, { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022 });
  const checker = program.getTypeChecker();
  const printer = ts.createPrinter({ removeComments: true });
  const seen = new Map();
  const lines = [];
  for (const [index, file] of files.entries()) {
    const source = program.getSourceFile(file);
    if (source === undefined) throw new Error(`${file} is missing; build first`);
    const entry = ENTRIES[index];
    lines.push(`# ${entry}`, "");
    const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(source));
    for (const exported of symbols.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      if (seen.has(symbol)) {
        lines.push(`${exported.name}: as in ${seen.get(symbol)}`, "");
        continue;
      }
      seen.set(symbol, entry);
      for (const declaration of symbol.declarations ?? [])
        lines.push(declarationText(printer, declaration), "");
    }
  }
  return `${lines.join("\n").trimEnd()}\n`;
}

function declarationText(printer, declaration) {
  // A constant's declaration is within a statement, which has the words before its name.
  const node = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
  return printer.printNode(ts.EmitHint.Unspecified, node, declaration.getSourceFile());
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(apiReport());
