/**
 * The house rules (floors, names of the device, files, sizes, tests) over every .ts and .wgsl file of the tree.
 *
 * Imports only go down: main -> commands -> training -> models -> llm -> ops -> autograd -> gpu -> kernels; data/ and io/ stand
 * beside. The optimizer is training's, so training/ holds kernels too, beside ops/. See source_tree.ts for how files
 * are read: imports are scanned, which covers files that mod.ts does not reach and starts no process.
 * Each rule is first tried on a made-up tree that breaks it.
 */
import assert from "node:assert/strict";
import { codeOf, importsIn, importsOf, readTree, type Tree } from "./source_tree.ts";

/** What each folder may import besides itself and packages; other folders and the root are not restricted. */
const FLOORS: Readonly<Record<string, readonly string[]>> = {
  gpu: [],
  autograd: ["gpu"],
  ops: ["autograd", "gpu", "kernels"],
  llm: ["ops", "autograd", "gpu"],
  models: ["llm", "ops", "autograd", "gpu", "data"],
  commands: ["training", "gpu", "io"],
  training: ["models", "llm", "ops", "autograd", "gpu", "kernels", "data", "io"],
  io: ["llm", "ops", "autograd", "gpu"], // it opens devices, loads models and measures
  data: ["llm", "gpu", "io"],
};
const METHODS = ["cot", "icot", "coconut", "distill", "codi", "colar"].map((m) => `models/${m}.ts`);
const SYSTEM = /^(?:node:|npm:)?(?:fs|process|os|child_process)(?:\/|$)/;

const folderOf = (path: string) => path.includes("/") ? path.split("/")[0] : "";
const isProduct = (path: string) => folderOf(path) in FLOORS || /^(main|mod)\.ts$/.test(path);
const lines = (text: string) => text.trimEnd().split("\n").length;

/** What a rule found: how many things it looked at, and a line for each that breaks it. */
interface Finding {
  checked: number;
  broken: string[];
}

interface Rule {
  readonly name: string;
  readonly check: (tree: Tree) => Finding;
  /** A tree with faults, and what must be found in it, in order. */
  readonly faulty: Readonly<Record<string, string>>;
  readonly found: readonly string[];
}

/** A finding over items: `look` reports what is wrong with one. */
function each<T>(
  items: Iterable<T>,
  look: (item: T, report: (fault: string) => void) => void,
): Finding {
  const finding: Finding = { checked: 0, broken: [] };
  for (const item of items) {
    finding.checked++;
    look(item, (fault) => finding.broken.push(fault));
  }
  return finding;
}

const files = (tree: Tree, pattern: RegExp) => [...tree].filter(([path]) => pattern.test(path));
const productFiles = (tree: Tree) => files(tree, /\.ts$/).filter(([path]) => isProduct(path));

function cycles(tree: Tree): Finding {
  const edges = new Map<string, string[]>();
  for (const [from, to] of importsIn(tree)) edges.set(from, [...edges.get(from) ?? [], to]);
  const done = new Set<string>();
  const broken: string[] = [];
  const visit = (path: string, trail: string[]) => {
    const at = trail.indexOf(path);
    if (at >= 0) broken.push(`${[...trail.slice(at), path].join(" -> ")} is a cycle`);
    if (at >= 0 || done.has(path)) return;
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) visit(path, []);
  return { checked: edges.size, broken };
}

/** Who imports a kernel under which name, and the paths that a file gives such names. */
function kernelUses(tree: Tree) {
  return files(tree, /\.ts$/).filter(([path]) => isProduct(path)).flatMap(([path, text]) => {
    const imported = [
      ...text.matchAll(/^import\s+(\w+)\s+from\s+"[./]*(kernels\/[\w/]+\.wgsl)"/gm),
    ];
    return imported.map(([, name, kernel]) => {
      const called = [...text.matchAll(/"(kernels\/[\w/]+\.wgsl)",\s*(\w+)\s*[,)]/g)]
        .filter((call) => call[2] === name).map((call) => call[1]);
      return { path, name, kernel, called };
    });
  });
}

const RULES: readonly Rule[] = [
  {
    name: "imports only go down",
    check: (tree) =>
      each(importsIn(tree).filter(([from]) => folderOf(from) in FLOORS), ([from, to], report) => {
        const [floor, target] = [folderOf(from), folderOf(to)];
        const isPackage = /^(npm|node):/.test(to) || !/\.(ts|wgsl|json)$/.test(to);
        if (isPackage || floor === target || FLOORS[floor].includes(target)) return;
        return report(`${from} imports ${to}`);
      }),
    faulty: {
      "ops/a.ts": 'import { b } from "../llm/b.ts";\nimport { c } from "../autograd/c.ts";',
      "gpu/a.ts": 'export type { T } from "../mod.ts"; import x from "npm:yaml@2";',
      "llm/b.ts": 'const io = await import("../io/c.ts");\n// import "../training/x.ts";',
      "main.ts": 'import "./training/x.ts";',
    },
    found: [
      "ops/a.ts imports llm/b.ts",
      "gpu/a.ts imports mod.ts",
      "llm/b.ts imports io/c.ts",
    ],
  },
  {
    name: "a method imports neither another method nor training",
    check: (tree) =>
      each(
        importsIn(tree).filter(([from]) => folderOf(from) === "models"),
        ([from, to], report) => {
          if (METHODS.includes(to) || folderOf(to) === "training") {
            return report(`${from} imports ${to}`);
          }
        },
      ),
    faulty: {
      "models/colar.ts": 'import { Cot } from "./cot.ts"; import "./latent_head.ts";',
      "models/latent_head.ts": 'import "../training/trainer.ts";',
    },
    found: [
      "models/colar.ts imports models/cot.ts",
      "models/latent_head.ts imports training/trainer.ts",
    ],
  },
  {
    name: "each method has at most 200 lines, and a head with its source and its deviations",
    check: (tree) =>
      each([...tree].filter(([path]) => METHODS.includes(path)), ([path, text], report) => {
        if (lines(text) > 200) report(`${path} has ${lines(text)} lines`);
        const [head] = /^\/\*\*[^]*?\*\//.exec(text) ?? [""];
        for (const part of ["Source:", "**Deviations.**"]) {
          if (!head.includes(part)) report(`${path} has no ${part} in its head`);
        }
      }),
    faulty: {
      "models/cot.ts": `/** Source: a paper.\n * **Deviations.** None. */${"\n;".repeat(200)}`,
      "models/icot.ts": "/** Source: a paper. */\n/** **Deviations.** None. */",
      "models/codi.ts": "/** A method. */\n// Source: a paper. **Deviations.** None.",
      "models/colar.ts": `/** Source: a paper.\n * **Deviations.** None. */${"\n;".repeat(198)}`,
      "models/latent_head.ts": "/** Source: a paper. */",
    },
    found: [
      "models/cot.ts has 202 lines",
      "models/icot.ts has no **Deviations.** in its head",
      "models/codi.ts has no Source: in its head",
      "models/codi.ts has no **Deviations.** in its head",
    ],
  },
  {
    name: "only ops and training import kernels",
    check: (tree) =>
      each(importsIn(tree).filter(([, to]) => to.endsWith(".wgsl")), ([from, to], report) => {
        if (isProduct(from) && !["ops", "training"].includes(folderOf(from))) {
          return report(`${from} imports ${to}`);
        }
      }),
    faulty: {
      "mod.ts": 'import source from "./kernels/a.wgsl" with { type: "text" };',
      "training/adamw.ts": 'import source from "../kernels/b.wgsl" with { type: "text" };',
    },
    found: ["mod.ts imports kernels/a.wgsl"],
  },
  {
    name: "only gpu names the device's types",
    check: (tree) =>
      each(files(tree, /\.ts$/), ([path, text], report) => {
        if (/^(tests\/)?gpu\//.test(path)) return;
        const name = /\bGPU[A-Z]\w*|\bnavigator\s*\.\s*gpu\b/.exec(codeOf(text))?.[0];
        if (name) return report(`${path} names ${name}`);
      }),
    faulty: {
      "ops/a.ts": "const b: GPUBuffer = c;",
      "llm/a.ts": "// GPUBuffer\nconst text = 'GPUBuffer' + `GPUBuffer`; class Gpu {}",
      "bench/a.ts": "await navigator.gpu.requestAdapter()",
      "gpu/a.ts": "let x: GPUDevice",
    },
    found: ["ops/a.ts names GPUBuffer", "bench/a.ts names navigator.gpu"],
  },
  {
    name: "only main.ts and io touch Deno, files and the process",
    check: (tree) =>
      each(productFiles(tree), ([path, text], report) => {
        if (path === "main.ts" || folderOf(path) === "io") return;
        const system = importsOf(text).find((to) => SYSTEM.test(to));
        if (system) return report(`${path} imports ${system}`);
        if (/\bDeno\b/.test(codeOf(text))) return report(`${path} names Deno`);
      }),
    faulty: {
      "data/a.ts": "export const a = `${Deno.args}`;",
      "llm/a.ts": 'import { readFile } from "node:fs/promises";',
      "ops/a.ts": '// Deno\nconst text = "Deno.args", r = /Deno"/; import b from "node:buffer";',
      "gpu/a.ts": 'import process from "node:process";',
      "io/a.ts": 'import "node:fs"; Deno.args;',
    },
    found: [
      "data/a.ts names Deno",
      "llm/a.ts imports node:fs/promises",
      "gpu/a.ts imports node:process",
    ],
  },
  {
    name: "nothing imports tests, bench or experiments",
    check: (tree) =>
      each(importsIn(tree), ([from, to], report) => {
        const [floor, target] = [folderOf(from), folderOf(to)];
        if (!["tests", "bench", "experiments"].includes(target) || floor === target) return;
        if (floor !== "tests") return report(`${from} imports ${to}`);
      }),
    faulty: {
      "ops/a.ts": 'import "../tests/random.ts";',
      "bench/a.ts": 'import "../experiments/b.ts"; import "./c.ts";',
      "tests/bench/a_test.ts": 'import "../../bench/a.ts";',
    },
    found: ["ops/a.ts imports tests/random.ts", "bench/a.ts imports experiments/b.ts"],
  },
  {
    name: "no import cycles",
    check: cycles,
    faulty: {
      "ops/a.ts": 'import "./b.ts";',
      "ops/b.ts": 'import type { C } from "./c.ts";',
      "ops/c.ts": 'export * from "./a.ts"; import "./d.ts";',
      "ops/d.ts": "",
    },
    found: ["ops/a.ts -> ops/b.ts -> ops/c.ts -> ops/a.ts is a cycle"],
  },
  {
    name: "every import of the project's own files finds one",
    check: (tree) =>
      each(
        importsIn(tree).filter(([, to]) => /^[^:]*\.(ts|wgsl)$/.test(to)),
        ([from, to], report) => {
          if (!tree.has(to)) return report(`${from} imports ${to}, which is not there`);
        },
      ),
    faulty: { "ops/a.ts": 'import "./b.ts"; import "./c.ts"; import "npm:x.ts";', "ops/b.ts": "" },
    found: ["ops/a.ts imports ops/c.ts, which is not there"],
  },
  {
    name: "a kernel is imported by one file, under its own path",
    check: (tree) => {
      const uses = kernelUses(tree);
      return each(files(tree, /^kernels\/.*\.wgsl$/), ([kernel], report) => {
        const own = uses.filter((use) => use.kernel === kernel);
        if (own.length !== 1) {
          return report(
            `${kernel} is imported by ${own.map((use) => use.path).join(", ") || "no file"}`,
          );
        }
        const [{ path, name, called }] = own;
        if (called.length === 1 && called[0] === kernel) return;
        return report(
          `${path} imports ${kernel} as ${name} but calls it ${called.join(", ") || "nothing"}`,
        );
      });
    },
    faulty: {
      "kernels/a.wgsl": "",
      "kernels/b.wgsl": "",
      "kernels/c.wgsl": "",
      "kernels/d.wgsl": "",
      "kernels/e.wgsl": "",
      "ops/a.ts": `import a from "../kernels/a.wgsl" with { type: "text" };
import b from "../kernels/b.wgsl" with { type: "text" };
import d from "../kernels/d.wgsl" with { type: "text" };
import e from "../kernels/e.wgsl" with { type: "text" };
const k = [kernel("kernels/a.wgsl", a), kernel(
  "kernels/b.wgsl",
  a2,
), kernel("kernels/x.wgsl", d), kernel("kernels/e.wgsl", e)];`,
      "ops/b.ts": 'import e from "../kernels/e.wgsl";',
    },
    found: [
      "ops/a.ts imports kernels/b.wgsl as b but calls it nothing",
      "kernels/c.wgsl is imported by no file",
      "ops/a.ts imports kernels/d.wgsl as d but calls it kernels/x.wgsl",
      "kernels/e.wgsl is imported by ops/a.ts, ops/b.ts",
    ],
  },
  {
    name: "a kernel begins with a header and has at most 150 lines",
    check: (tree) =>
      each(files(tree, /\.wgsl$/), ([path, text], report) => {
        if (!/^\/\/ \S/.test(text)) return report(`${path} has no header comment`);
        if (lines(text) > 150) return report(`${path} has ${lines(text)} lines`);
      }),
    faulty: {
      "kernels/a.wgsl": "struct Params {}",
      "kernels/b.wgsl": `// y = x\n${"\n".repeat(150)}}`,
      "kernels/c.wgsl": `// y = x\n${"}\n".repeat(149)}`,
    },
    found: ["kernels/a.wgsl has no header comment", "kernels/b.wgsl has 152 lines"],
  },
  {
    name: "every operation has a test of its name",
    check: (tree) => {
      const operation = /export function \w+\s*(?:<[^>]*>)?\(\s*g: Graph\b/;
      const operations = files(tree, /^ops\/\w+\.ts$/)
        .filter(([, text]) =>
          operation.test(text) && /\.(record|forwardOnly)\(/.test(codeOf(text))
        );
      return each(operations, ([path], report) => {
        const test = `tests/${path.replace(/\.ts$/, "_test.ts")}`;
        if (!tree.has(test)) return report(`${path} has no ${test}`);
      });
    },
    faulty: {
      "ops/a.ts": "export function a(g: Graph, x: Tensor): Tensor { return g.record(x); }",
      "ops/b.ts": "export function b(\n  g: Graph,\n): Tensor { g.forwardOnly(x); }",
      "ops/products.ts": "export function product(g: Graph): Tensor {} // never g.record(",
      "tests/ops/a_test.ts": "",
    },
    found: ["ops/b.ts has no tests/ops/b_test.ts"],
  },
  {
    name: "a file of the product begins with a header and has at most 400 lines",
    check: (tree) =>
      each(productFiles(tree), ([path, text], report) => {
        if (!/^(#![^\n]*\n)?\/\*\*/.test(text)) return report(`${path} has no header comment`);
        if (lines(text) > 400) return report(`${path} has ${lines(text)} lines`);
      }),
    faulty: {
      "ops/a.ts": "import x;\n/** Late. */",
      "ops/b.ts": `/** Good. */${"\n;".repeat(400)}`,
      "main.ts": "#!/usr/bin/env deno\n/** Good. */",
      "tests/a_test.ts": "test();",
    },
    found: ["ops/a.ts has no header comment", "ops/b.ts has 401 lines"],
  },
];

Deno.test("architecture: imports are found in every form, and nowhere else", () => {
  const text = `#!/usr/bin/env -S deno run
/** import { no } from "./comment.ts"; */
import assert from "node:assert/strict";
import {
  type A, // import "./comment.ts";
  b,
} from "../a.ts";
import * as c from './c.ts';
import "./effect.ts";
import source from "./k.wgsl" with { type: "text" };
export { d } from "./d.ts";
export * from "./e.ts";
export const notAnImport = "./f.ts";
const quote = /["'\`]/, text = \`import "./template.ts"; \${1}\`;
const later = await import("./later.ts");
type T = import("./types.ts").T;
const message = 'import "./string.ts"';
`;
  assert.deepEqual(importsOf(text), [
    "node:assert/strict",
    "../a.ts",
    "./c.ts",
    "./effect.ts",
    "./k.wgsl",
    "./d.ts",
    "./e.ts",
    "./later.ts",
    "./types.ts",
  ]);
});

for (const { name, check, faulty, found } of RULES) {
  Deno.test(`architecture: ${name}: finds what breaks it`, () => {
    const { checked, broken } = check(new Map(Object.entries(faulty)));
    assert.deepEqual(broken, found);
    assert.ok(checked >= found.length);
  });
}

Deno.test("architecture: the tree keeps every rule", async (t) => {
  const tree = await readTree(new URL("../", import.meta.url));
  assert.ok(tree.has("gpu/device.ts") && tree.has("tests/architecture_test.ts"));
  for (const { name, check } of RULES) {
    await t.step(name, () => {
      const { checked, broken } = check(tree);
      console.log(`  ${checked} checked: ${name}`);
      // No method exists yet where models/ is empty; everything else has something to look at.
      if (!name.startsWith("a method")) assert.ok(checked > 0, "nothing was checked");
      assert.deepEqual(broken, []);
    });
  }
});
