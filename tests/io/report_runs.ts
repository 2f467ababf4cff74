/** Made-up runs for tests of reports. */
import { join } from "node:path";

const prediction = (index: number, acc: number, output_string: string) => ({
  ...{ index, output_string, pred_answer: output_string.slice(7), answer: "5", acc },
  ...{ n_latent_forward: 11, output_length: 4 },
});
const score = (acc: number) => ({ acc, n_latent_forward: 11, interval: [acc / 2, (1 + acc) / 2] });

/** A test.json as a test writes it, with texts that a page must not take for its own. */
export const TEST = {
  model: "colar",
  dataset: "arith",
  num_questions: 2,
  questions: ["2 < 3 apples & </script><script>fail()</script>?", "<!-- <b>pears</b> $& ?"],
  rows: [
    { label: "cot", greedy: score(1) },
    { label: "colar, speed 2", greedy: score(0.5), drawn: score(0.25) },
  ],
  speeds: [{
    speed: 2,
    greedy: { predictions: [prediction(0, 1, "Answer:5"), prediction(1, 0, "Answer:<i>6</i>")] },
    paper: {
      runs: [
        { predictions: [prediction(0, 1, "Answer:5"), prediction(1, 0, "Answer:7")] },
        { predictions: [prediction(0, 0, "Answer:4"), prediction(1, 0, "Answer:8")] },
      ],
    },
  }],
};

/**
 * Writes a run's folder.
 * @param test the value of test.json, or its text
 * @returns its path
 */
export async function writeRun(
  parent: string,
  name: string,
  { train, test }: { train?: string; test?: unknown },
): Promise<string> {
  const folder = join(parent, name);
  await Deno.mkdir(folder, { recursive: true });
  if (train !== undefined) await Deno.writeTextFile(join(folder, "train.json"), train);
  const text = typeof test === "string" ? test : JSON.stringify(test, null, 2);
  if (test !== undefined) await Deno.writeTextFile(join(folder, "test.json"), text);
  return folder;
}

/** Runs work in a folder of its own, and removes it. */
export async function inRuns(work: (parent: string) => Promise<void>): Promise<void> {
  const parent = await Deno.makeTempDir();
  try {
    await work(parent);
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
}

if (import.meta.main) { // for report_page.sh
  const train = '{"step":1,"loss":2.5}\n{"step":2,"loss":2}\n{"step":2,"val/acc":0.5}\n';
  await writeRun(Deno.args[0], "run", { train, test: TEST });
}
