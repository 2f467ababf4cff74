/** The command line: what it prints where, and its exit codes. */
import assert from "node:assert/strict";
import type { Facts, Problem } from "../io/doctor.ts";
import { main } from "../main.ts";

/** Runs a command line and collects what it prints. */
async function run(...args: string[]): Promise<{ code: number; out: string; errors: string }> {
  const { log, error } = console;
  const printed: Record<"out" | "errors", string[]> = { out: [], errors: [] };
  console.log = (line: string) => printed.out.push(line);
  console.error = (line: string) => printed.errors.push(line);
  try {
    const code = await main(args);
    return { code, out: printed.out.join("\n"), errors: printed.errors.join("\n") };
  } finally {
    console.log = log;
    console.error = error;
  }
}

for (const args of [[], ["--help"], ["-h"], ["doctor", "--help"]]) {
  Deno.test(`main.ts ${args.join(" ")}: prints the commands`, async () => {
    const { code, out, errors } = await run(...args);
    assert.equal(code, 0);
    assert.match(out, /^Usage: main\.ts COMMAND \[options\]\n\n {2}doctor .*\n(.*\n)+ {2}--help$/);
    assert.equal(errors, "");
  });
}

const mistakes: [string[], string][] = [
  [["doctr"], "Unknown command 'doctr' (did you mean 'doctor'?)"],
  [["play"], "Unknown command 'play' (there is: doctor)"],
  [["constructor"], "Unknown command 'constructor' (there is: doctor)"],
  [["doctor", "--kernel=auto"], "Unknown option '--kernel' (did you mean '--kernels'?)"],
  [["doctor", "--verbose"], "Unknown option '--verbose' (there is: --kernels, --json)"],
  [["doctor", "-v"], "Unknown option '-v' (there is: --kernels, --json)"],
  [["doctor", "--kernels"], "--kernels needs a value, as in --kernels=auto"],
  [["doctor", "--json=yes"], "--json takes no value, got 'yes'"],
  [["doctor", "now"], "doctor takes options only, got 'now'; see --help"],
  [
    ["doctor", "--kernels=fast"],
    "--kernels must be auto, tiled, subgroup or subgroup:RxC (a register tile, as in subgroup:32x8), got 'fast'",
  ],
];
for (const [args, message] of mistakes) {
  Deno.test(`main.ts ${args.join(" ")}: one line, exit code 2`, async () => {
    assert.deepEqual(await run(...args), { code: 2, out: "", errors: message });
  });
}

Deno.test({
  name: "main.ts doctor --json: what this machine is",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const { code, out, errors } = await run("doctor", "--json");
    const facts: Facts & { problems: Problem[] } = JSON.parse(out);
    assert.equal(errors, "");
    assert.equal(code, 0, `no adapter: ${facts.adapterError}`);
    assert.equal(facts.deno, Deno.version.deno);
    assert.match(facts.adapter!.kernels, /^(subgroup|tiled)/);
    assert.match(facts.adapter!.kernelOrigin, /^(default|remembered)$/);
    const speeds = facts.adapter!.speeds.map(({ gflops, gigabytes }) => gflops ?? gigabytes ?? 0);
    assert.ok(speeds.length === 6 && speeds.every((s) => s > 0.01 && s < 1e6), `${speeds}`);
    assert.ok(facts.problems.every(({ what, remedy }) => what !== "" && remedy !== ""));
  },
});
