/** The table of methods: a row brings the row that it begins from, and every line says what ran and what came out. */
import assert from "node:assert/strict";
import { type Line, nanoMethods, nanoTable, ROWS } from "../../experiments/nano_methods.ts";
import { gpuTest } from "../check_op.ts";
import { inWorkspace } from "../training/tiny_model.ts";

gpuTest("nano_methods: rows begin from the checkpoint of the row they name", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    const lines: Line[] = [];
    const settings = [
      ...[`model_id=${model}`, "max_steps=2", "n_train=32", "n_val=2", "n_test=3", "test_times=1"],
      ...["max_new_tokens=4"],
    ];
    const run = (rows: string[]) =>
      nanoMethods(gpu, { rows, lines: [...lines], workspace, settings }, (l) => lines.push(l));
    await run(["icot-16k"]);
    assert.deepEqual(lines.map(({ row }) => row), ["cot", "icot-16k"]);
    const [cot, icot] = lines;
    assert.match(
      icot.command,
      /--model=icot --load_ckpt_path=COT --do_test epoch_scaling=1 batch_size=8/,
    );
    assert.equal(cot.results[0].speed, 1);
    assert.ok(cot.results[0].greedy >= 0 && cot.results[0].drawn! <= 1);
    assert.equal(icot.results[0].n_latent_forward, 0);
    await run(["cot"]); // has a line
    assert.equal(lines.length, 2);
    const [head, , first] = nanoTable(lines).split("\n");
    assert.equal(head.split("|").length, first.split("|").length);
    await assert.rejects(run(["icto"]), /Unknown row 'icto'; there is: cot, colar-16k/);
  });
});

Deno.test("nano_methods: every row begins from a row that exists", () => {
  for (const { from } of Object.values(ROWS)) assert.ok(from === undefined || from in ROWS);
});
