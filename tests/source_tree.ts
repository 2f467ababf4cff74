/**
 * The project's files as the architecture test sees them: texts, imports, code without comments.
 *
 * A small scanner instead of `deno info --json`: it sees files that mod.ts does not reach, and needs no permission to
 * start a process. It knows comments, strings, templates and regular expressions, and no more of the language.
 */

/** Texts by path from the project's root, `ops/add.ts`. */
export type Tree = ReadonlyMap<string, string>;

const SKIPPED = new Set(["node_modules", "logs", "coverage"]);

/** Reads every .ts and .wgsl file below `root`, a folder's URL. */
export async function readTree(root: URL): Promise<Tree> {
  const tree = new Map<string, string>();
  const walk = async (folder: string) => {
    for await (const { name, isDirectory, isFile } of Deno.readDir(new URL(folder || ".", root))) {
      if (name.startsWith(".") || SKIPPED.has(name)) continue;
      const path = folder + name;
      if (isDirectory) await walk(`${path}/`);
      else if (isFile && /\.(ts|wgsl)$/.test(name)) {
        tree.set(path, await Deno.readTextFile(new URL(path, root)));
      }
    }
  };
  await walk("");
  return new Map([...tree].sort());
}

const TOKEN = new RegExp(
  [
    String.raw`\/\/[^\n]*`,
    String.raw`\/\*[\s\S]*?\*\/`,
    String.raw`"(?:\\.|[^"\\\n])*"`,
    String.raw`'(?:\\.|[^'\\\n])*'`,
    "`(?:\\\\[\\s\\S]|[^`\\\\])*`",
    String
      .raw`(?<=(?:^|[(,=:\[!&|?{};+]|=>|return)\s*)\/(?![*\/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^\/\\\n\[])+\/`,
  ].join("|"),
  "gm",
);

/** The text without comments, templates and regular expressions; of strings those stay that could name a file. */
export function withoutComments(text: string): string {
  return text.replace(TOKEN, (token) => {
    if (token[0] === '"' || token[0] === "'") return /\s|.["'`]./.test(token) ? '""' : token;
    if (token[0] === "`") return `"${(token.match(/\$\{[^}]*\}/g) ?? []).join("")}"`;
    return " ";
  });
}

/** What is left of the text for the compiler: no comments, and strings without their contents. */
export function codeOf(text: string): string {
  return withoutComments(text).replace(/"(?:\\.|[^"\\\n$])*"|'(?:\\.|[^'\\\n])*'/g, '""');
}

/** What a file imports: static, re-exported, for effects, and dynamic; as written. */
export function importsOf(text: string): string[] {
  const code = withoutComments(text);
  const statements =
    /(?<=^|;)[ \t]*(?:import|export)\b(?!\s*\()[^;"']*?(?:\bfrom\s*)?["']([^"'\n]+)["']/gm;
  const dynamic = /\bimport\s*\(\s*["']([^"'\n]+)["']/g;
  return [...code.matchAll(statements), ...code.matchAll(dynamic)].filter(([statement]) =>
    /^\s*import|\bfrom\b/.test(statement)
  ).map((match) => match[1]);
}

/** Where an import leads: a path from the root, or as it is for a package. */
export function resolveImport(from: string, specifier: string): string {
  if (!specifier.startsWith(".")) return specifier;
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

/** Every import of the tree's TypeScript files: [importing file, path or package]. */
export function importsIn(tree: Tree): [string, string][] {
  return [...tree].filter(([path]) => path.endsWith(".ts")).flatMap(([path, text]) =>
    importsOf(text).map((to): [string, string] => [path, resolveImport(path, to)])
  );
}
