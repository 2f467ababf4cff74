/** Data sets from folders, files and the Hub: their parts, what is kept, and what is refused. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { loadSource, sourceLines, type SourceOptions } from "../../data/source_dataset.ts";
import { hubSettings } from "../../io/hub_settings.ts";
import { COMMIT, hubTest } from "../io/hub_server.ts";

const OPTIONS = {
  gsm8kSteps: "equations",
  questionText: "tidy",
  boxedAnswer: "balanced",
  testSplit: "test",
} as const;

const offline = {
  settings: hubSettings((name) =>
    new Map([["HF_HUB_OFFLINE", "1"], ["HF_HUB_CACHE", "/no"]]).get(name)
  ),
};

function load(source: string, options: Partial<SourceOptions> = {}) {
  return loadSource({ ...OPTIONS, hub: offline, source, ...options });
}

/** Numbered rows, as JSON lines. */
const rows = (name: string, count: number) =>
  Array.from(
    { length: count },
    (_, i) => JSON.stringify({ question: `${name} ${i}`, steps: [""], answer: String(i) }),
  ).join("\n");

async function inFolder(
  files: Readonly<Record<string, string | Uint8Array>>,
  run: (folder: string) => Promise<void>,
) {
  const folder = await Deno.makeTempDir();
  try {
    for (const [path, content] of Object.entries(files)) {
      await Deno.mkdir(dirname(join(folder, path)), { recursive: true });
      const write = typeof content === "string" ? Deno.writeTextFile : Deno.writeFile;
      await write(join(folder, path), content as string & Uint8Array);
    }
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const questions = (part: readonly { readonly question: string }[]) => part.map((r) => r.question);

Deno.test("source: the last tenth of train validates where nothing else does; all is every row", () =>
  inFolder({ "train.jsonl": rows("train", 19), "test.jsonl": rows("test", 3) }, async (folder) => {
    const set = await load(folder);
    assert.deepEqual([set.train.length, set.val.length, set.test.length], [17, 2, 3]);
    assert.deepEqual(questions(set.val), ["train 17", "train 18"]);
    const all = await load(folder, { testSplit: "all" });
    assert.deepEqual([all.train.length, all.val.length, all.test.length], [0, 0, 22]);
    assert.deepEqual([all.test[0].question, all.test[21].question], ["train 0", "test 2"]);
    await Deno.writeTextFile(join(folder, "valid.jsonl"), rows("val", 1));
    const three = await load(folder);
    assert.deepEqual([three.train.length, questions(three.val)], [19, ["val 0"]]);
  }));

Deno.test("source: MATH's subjects are mixed before the last tenth is taken, always alike", async () => {
  const subject = (name: string) =>
    Array.from(
      { length: 20 },
      (_, i) => JSON.stringify({ problem: `${name} ${i}`, solution: `$\\boxed{${i}}$` }),
    ).join("\n");
  const files = {
    "algebra/train.jsonl": subject("algebra"),
    "geometry/train.jsonl": subject("geometry"),
    "geometry/test.jsonl": subject("test") + '\n{"problem":"p","solution":"no box"}',
  };
  await inFolder(files, async (folder) => {
    const { train, val, test, facts } = await load(folder);
    assert.deepEqual([train.length, val.length, test.length, facts.numDropped], [36, 4, 20, 1]);
    assert.deepEqual(questions(val), questions((await load(folder)).val));
    assert.ok(new Set(questions(train.slice(0, 10)).map((q) => q.split(" ")[0])).size === 2);
    assert.equal(new Set(questions([...train, ...val])).size, 40);
  });
});

Deno.test("source: rows are kept, and made again when a file or a switch changes", () =>
  inFolder({ "set/test.jsonl": rows("test", 3) }, async (folder) => {
    const source = join(folder, "set");
    const cacheFolder = join(folder, "cache");
    const count = async () => (await Array.fromAsync(Deno.readDir(cacheFolder))).length;
    const first = await load(source, { cacheFolder });
    const { kept = "" } = first.facts;
    assert.ok(kept.startsWith(cacheFolder));
    // What is kept is what is read: the rows differ because the file was changed behind its back.
    const changed = (await Deno.readTextFile(kept)).replace("test 0", "kept 0");
    await Deno.writeTextFile(kept, changed);
    const again = await load(source, { cacheFolder });
    assert.deepEqual([questions(again.test)[0], again.facts.kept], ["kept 0", kept]);
    assert.equal(await count(), 1);
    await load(source, { cacheFolder, gsm8kSteps: "sentences" });
    assert.equal(await count(), 2);
    await Deno.writeTextFile(join(source, "test.jsonl"), rows("new", 3));
    assert.equal((await load(source, { cacheFolder })).test[0].question, "new 0");
    assert.equal(await count(), 3);
    assert.equal((await load(source)).facts.kept, undefined);
  }));

hubTest(
  "source: a known set of the Hub gets its files, another those of the converted branch",
  async (hub, cache) => {
    const parquet = await Deno.readFile(new URL("excerpts/gsm8k_test.parquet", import.meta.url));
    const files = new Map<string, Uint8Array<ArrayBuffer>>([
      ["README.md", new Uint8Array()],
      ["main/train-00000-of-00001.parquet", parquet],
      ["main/test-00000-of-00001.parquet", parquet],
      ["default/test/0000.parquet", parquet],
      ["other/test/0000.parquet", parquet],
    ]);
    for (const name of ["openai/gsm8k", "someone/some-set", "ChilleD/SVAMP"]) {
      hub.repos.set(`datasets/${name}`, { commit: COMMIT, files });
    }
    const options = { hub: hub.options(cache) };
    const { train, val, test, facts } = await load("openai/gsm8k", options);
    assert.deepEqual([train.length, val.length, test.length], [3, 1, 4]);
    assert.deepEqual(test[0].steps, ["<<16-3-4=9>>", "<<9*2=18>>"]);
    assert.equal(facts.origin, `openai/gsm8k@${COMMIT}`);
    hub.taken();
    assert.equal((await load(facts.origin, options)).test.length, 4);
    assert.deepEqual(hub.taken(), [], "a pinned set asks for nothing");

    const converted = await load("someone/some-set", options);
    assert.deepEqual(converted.facts.files.map(({ path }) => path), ["default/test/0000.parquet"]);
    assert.ok(hub.taken().some((path) => path.includes("/revision/refs%2Fconvert%2Fparquet")));
    const other = await load("someone/some-set/other@main", options);
    assert.deepEqual(other.facts.files.map(({ path }) => path), ["other/test/0000.parquet"]);
    assert.equal(other.facts.origin, `someone/some-set/other@${COMMIT}`);
    await assert.rejects(load("ChilleD/SVAMP", options), {
      name: "RangeError",
      message: "dataset ChilleD/SVAMP@main has no train.json; name a revision that has it",
    });
  },
);

Deno.test("source: what is nowhere, or has no such part, is named", async () => {
  await assert.rejects(load("/nowhere"), {
    name: "TypeError",
    message: "source: no file or folder '/nowhere', and no set of the Hub, which is owner/name; " +
      "configs/datasets has examples",
  });
  await assert.rejects(load("openai/gsm8k"), { message: /HF_HUB_OFFLINE is set/ });
  await inFolder({ "rows.jsonl": rows("a", 2) }, async (folder) => {
    for (const source of [folder, join(folder, "rows.jsonl")]) {
      await assert.rejects(load(source), {
        name: "RangeError",
        message: `test_split is 'test', but ${source} has no test part (all); ` +
          "set test_split=all to test every row",
      });
      assert.equal((await load(source, { testSplit: "all" })).test.length, 2);
    }
  });
});

Deno.test("source: the lines name counts, split, files, and what was left out", () => {
  const row = { question: "q", steps: [], answer: "1" };
  const sha256 = "0a3909a9e7d8d2f7ad6b8c7b5608aa744988d835f9bf874d4cf06ca77df6bf8c";
  const facts = { origin: "here", files: [{ path: "train.txt", sha256 }], numDropped: 2 };
  const set = { train: [row, row], val: [row], test: [], facts };
  assert.deepEqual(sourceLines("mine", "all", set), [
    "mine: 2 train, 1 val, 0 test rows (test_split=all) of here",
    `  train.txt: sha256 ${sha256}, GSM8k-Aug's train.txt as published`,
    "  2 rows have no answer that can be read",
    "  not kept: there is no cache folder that can be written",
  ]);
  const kept = { ...set, facts: { ...facts, numDropped: 0, kept: "/c/k.json" } };
  assert.deepEqual(sourceLines("mine", "all", kept).slice(2), ["  kept as /c/k.json"]);
});
