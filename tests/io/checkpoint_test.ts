/**
 * Checkpoints: exact round trips, every torn state refused by name, a kill at every operation, and which ones stay.
 *
 * A kill is a file system whose operations throw from the n-th on, the n-th having done half of its work where it can;
 * nothing after it reaches the disk, clean-up included, as when the process is gone.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { disk, type Files, recoverFolders, writeAtomic } from "../../io/atomic.ts";
import {
  type Checkpoint,
  loadCheckpoint,
  readCheckpoint,
  saveCheckpoint,
} from "../../io/checkpoint.ts";
import { CheckpointFolder, checkpointName, keepTop } from "../../io/checkpoint_folder.ts";
import { loadSafetensors } from "../../io/safetensors.ts";

const NAME = "llm.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight";

/** A checkpoint whose every number tells its step. */
function sample(step: number, monitor?: number): Checkpoint {
  const data = (length: number, first: number) =>
    Float32Array.from({ length }, (_, i) => step * 1000 + first + i / 3);
  const tensors = new Map([
    [NAME, { shape: [2, 3], data: data(6, 0) }],
    ["latent_policy.mean.bias", { shape: [5], data: data(5, 100) }],
    ["scalar", { shape: [], data: data(1, 200) }],
  ]);
  const moments = new Map([...tensors].map(([name, { data }]) => [
    name,
    { expAvg: data.map((x) => x / 7), expAvgSq: data.map((x) => x * x) },
  ]));
  const state = { epoch: 1, step, data: { seed: 7, position: 0.1 + step }, rng: [4294967295, 3] };
  const config = { model: { lora_r: 128, name: 'ü "quoted"' }, lr: 1e-4, list: [null, true] };
  return { tensors, optimizer: { step, moments }, state, config, monitor };
}

/** The same for comparison: no maps, and no difference between a value missing and undefined. */
function plain({ tensors, optimizer, state, config, monitor }: Checkpoint) {
  const moments = optimizer && Object.fromEntries(optimizer.moments);
  const step = optimizer?.step;
  return { tensors: Object.fromEntries(tensors), moments, step, state, config, monitor };
}

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

class Killed extends Error {}

/** The disk without waiting for it: these tests end no power supply. */
const quick: Files = {
  ...disk,
  async create(path) {
    return { ...await disk.create(path), sync: () => Promise.resolve() };
  },
  syncFolder: () => Promise.resolve(),
};

/**
 * The disk until operation `last`, which does half of its work; `count` tells how many were asked for.
 * @param isFull whether only that one fails, as where the disk is full
 */
function killedAt(last: number, isFull = false): Files & { count: number } {
  const files = {
    count: 0,
    async step<T>(whole: () => Promise<T>, half: () => Promise<unknown> = () => Promise.resolve()) {
      files.count++;
      if (files.count < last || (isFull && files.count > last)) return await whole();
      if (files.count === last) await half();
      throw new Killed(isFull ? "No space left on device (os error 28): write 'x'" : "");
    },
    makeFolder: (path: string) => files.step(() => quick.makeFolder(path)),
    async create(path: string) {
      const file = await files.step(() => quick.create(path), async () => {
        (await quick.create(path)).close();
      });
      return {
        write: (bytes: Uint8Array<ArrayBuffer>) =>
          files.step(
            () => file.write(bytes),
            () => file.write(bytes.subarray(0, bytes.length / 2)),
          ),
        sync: () => files.step(() => file.sync()),
        close: () => file.close(), // what the system does for a dead process
      };
    },
    rename: (from: string, to: string) => files.step(() => quick.rename(from, to)),
    remove: (path: string) =>
      files.step(() => quick.remove(path), async () => {
        if ((await Deno.stat(path)).isFile) return;
        for (const name of namesIn(path).slice(0, 1)) await quick.remove(join(path, name));
      }),
    syncFolder: (path: string) => files.step(() => quick.syncFolder(path)),
  };
  return files;
}

Deno.test("checkpoints round trip bit for bit", () =>
  inFolder(async (folder) => {
    const path = join(folder, "last");
    const saved = sample(3, 0.1);
    await saveCheckpoint(path, saved);
    assert.deepEqual(plain(await loadCheckpoint(path)), plain(saved));
    assert.deepEqual(namesIn(path), ["model.safetensors", "optimizer.safetensors", "state.json"]);
    assert.deepEqual(namesIn(folder), ["last"]);
    const names = [...(await loadSafetensors(join(path, "model.safetensors"))).keys()].sort();
    assert.deepEqual(names, [...saved.tensors.keys()].sort());

    const state = await Deno.readTextFile(join(path, "state.json"));
    assert.ok(!state.includes(folder));
    await saveCheckpoint(path, saved);
    assert.equal(await Deno.readTextFile(join(path, "state.json")), state);
    const { state: read, config, monitor } = saved;
    assert.deepEqual(await readCheckpoint(path), { state: read, config, monitor });
  }));

Deno.test("checkpoints without optimizer or monitored value, and of shared memory", () =>
  inFolder(async (folder) => {
    const path = join(folder, "last");
    const shared = new Float32Array(new SharedArrayBuffer(16)).fill(1.5).subarray(1);
    const tensors = new Map([["a", { shape: [3], data: shared }]]);
    const saved = { tensors, state: { epoch: 0, step: 0 }, config: null };
    await saveCheckpoint(path, { ...saved, monitor: NaN });
    assert.deepEqual(namesIn(path), ["model.safetensors", "state.json"]);
    const loaded = await loadCheckpoint(path);
    assert.deepEqual(Object.keys(loaded).sort(), ["config", "state", "tensors"]);
    assert.deepEqual(loaded.tensors.get("a")?.data, Float32Array.of(1.5, 1.5, 1.5));

    await saveCheckpoint(path, { ...sample(1), monitor: -Infinity });
    const initial = await loadCheckpoint(path, { optimizer: false });
    assert.deepEqual([initial.monitor, initial.optimizer], [-Infinity, undefined]);
  }));

Deno.test("checkpoints refuse what they could not give back", () =>
  inFolder(async (folder) => {
    const path = join(folder, "last");
    const good = sample(1);
    const bad: [Partial<Checkpoint>, string][] = [
      [{ state: { epoch: 0, step: 1, loss: NaN } }, "state.loss is NaN"],
      [{ state: { epoch: 0, step: 1, rng: [1n] } }, "state.rng.0 is 1"],
      [{ state: { epoch: 0, step: 1, rng: Uint32Array.of(1) } }, "state.rng is Uint32Array"],
      [{ config: { list: [undefined] } }, "config.list.0 is undefined"],
      [{ config: undefined }, "config is undefined"],
    ];
    for (const [part, what] of bad) {
      await assert.rejects(saveCheckpoint(path, { ...good, ...part }), {
        name: "TypeError",
        message: `checkpoint: ${what}; it must be JSON: store it as a list or text`,
      });
    }
    const { expAvg, expAvgSq } = good.optimizer!.moments.get("scalar")!;
    const foreign = { step: 1, moments: new Map([["other", { expAvg, expAvgSq }]]) };
    await assert.rejects(saveCheckpoint(path, { ...good, optimizer: foreign }), {
      name: "TypeError",
      message: 'checkpoint: moments of "other", which is no tensor of it',
    });
    const short = { step: 1, moments: new Map([[NAME, { expAvg, expAvgSq }]]) };
    await assert.rejects(saveCheckpoint(path, { ...good, optimizer: short }), {
      name: "TypeError",
      message: /exp_avg.* shape \[2,3\] must match its 1 values/,
    });
    assert.deepEqual(namesIn(folder), []);
  }));

for (const file of ["model.safetensors", "optimizer.safetensors", "state.json"]) {
  Deno.test(`checkpoints: a torn, changed or missing ${file} is refused by name`, () =>
    inFolder(async (folder) => {
      const [path, other] = [join(folder, "last"), join(folder, "epoch0__step1__monitor0.500")];
      await saveCheckpoint(path, sample(3));
      await saveCheckpoint(other, sample(1));
      const broken = join(path, file);
      const whole = await Deno.readFile(broken);
      const next = `; use another checkpoint: ${folder} has: epoch0__step1__monitor0.500`;
      const refuses = async (what: RegExp) => {
        const error = await loadCheckpoint(path).then(() => new Error("loaded"), (error) => error);
        assert.equal(error.name, "SyntaxError");
        assert.ok(error.message.startsWith(`${broken}: `), error.message);
        assert.ok(error.message.endsWith(next), error.message);
        assert.match(error.message, what);
        assert.doesNotMatch(error.message, /\n/);
      };
      const lengths = [0, 1, 7, 8, 9, whole.length >> 1, whole.length - 9, whole.length - 2];
      for (const length of lengths) {
        await Deno.writeFile(broken, whole.subarray(0, length));
        await refuses(/: torn: \d+ (bytes, but state\.json says \d+|characters that are no JSON)/);
      }
      for (let at = 0; at < whole.length; at += 1 + Math.floor(whole.length / 40)) {
        await Deno.writeFile(broken, whole.with(at, whole[at] ^ 1));
        await refuses(/: (changed: its SHA-256|torn: \d+ characters|format is |version is )/);
      }
      if (file !== "state.json") {
        await Deno.writeFile(broken, Uint8Array.of(...whole, 0));
        await refuses(/: torn: /);
        await Deno.remove(broken);
        await refuses(/: missing, but state\.json lists it/);
      }
      await Deno.writeFile(broken, whole);
      assert.deepEqual(plain(await loadCheckpoint(path)), plain(sample(3)));
    }));
}

Deno.test("checkpoints: a copy without its large files is told what to fetch", () =>
  inFolder(async (folder) => {
    const path = join(folder, "last");
    await saveCheckpoint(path, sample(3));
    const file = join(path, "model.safetensors");
    const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0a39\nsize 12345\n";
    await Deno.writeTextFile(file, pointer);
    await assert.rejects(loadCheckpoint(path), {
      name: "TypeError",
      message: `${file}: a Git LFS pointer instead of the file; fetch it: git lfs pull`,
    });
  }));

Deno.test("checkpoints: what is no checkpoint is refused with what to name instead", () =>
  inFolder(async (folder) => {
    const run = join(folder, "run");
    const checkpoints = join(run, "checkpoints");
    const last = join(checkpoints, "last");
    await Deno.mkdir(checkpoints, { recursive: true });
    const refuses = async (path: string, message: string) => {
      for (const load of [loadCheckpoint, readCheckpoint]) {
        await assert.rejects(load(path), { name: "RangeError", message });
      }
    };
    const quoted = JSON.stringify;
    const such = "name a folder that a run saved, such as checkpoints/last";
    const rule = "a checkpoint is a folder that a run saved, with state.json";
    await refuses(last, `no checkpoint ${quoted(last)}; ${such}`);
    await refuses(`${last}/further`, `no checkpoint ${quoted(`${last}/further`)}; ${such}`);
    await refuses(run, `${quoted(run)} has no state.json; ${rule}`);
    await saveCheckpoint(last, sample(1));
    const missing = join(checkpoints, "lst");
    await refuses(missing, `no checkpoint ${quoted(missing)}; ${checkpoints} has: last`);
    for (const path of [run, checkpoints]) {
      await refuses(path, `${quoted(path)} holds checkpoints; name one, such as ${last}`);
    }
    const file = join(folder, "colar.ckpt");
    await Deno.writeTextFile(file, "PK");
    await refuses(file, `${quoted(file)} is not a folder; ${rule}`);
    await refuses(join(file, "x"), `no checkpoint ${quoted(join(file, "x"))}; ${such}`);
    const model = join(folder, "model");
    await Deno.mkdir(model);
    await Deno.writeTextFile(join(model, "config.json"), "{}");
    const hint = "a base model is named with model_id";
    await refuses(model, `${quoted(model)} has no state.json; ${rule}; ${hint}`);
  }));

Deno.test("checkpoints of another format or version are refused", () =>
  inFolder(async (folder) => {
    const path = join(folder, "last");
    await saveCheckpoint(path, sample(1));
    const state = join(path, "state.json");
    const content = JSON.parse(await Deno.readTextFile(state));
    const refuses = async (change: Record<string, unknown>, message: string) => {
      await Deno.writeTextFile(state, JSON.stringify({ ...content, ...change }));
      await assert.rejects(loadCheckpoint(path), { name: "SyntaxError", message });
    };
    const next = "use another checkpoint: name a folder that a run saved, such as checkpoints/last";
    await refuses(
      { format: "lightning" },
      `${state}: format is "lightning", not "colar-webgpu checkpoint"; ${next}`,
    );
    await refuses(
      { version: 2 },
      `${state}: version is 2, and this program reads 1; use the program that saved it`,
    );
    await refuses(
      { monitor: "1" },
      `${state}: changed: its SHA-256 is not that of its content; ${next}`,
    );
    await Deno.writeTextFile(state, "[]");
    await assert.rejects(loadCheckpoint(path), {
      name: "SyntaxError",
      message: /torn: 2 characters/,
    });
  }));

for (const isReplaced of [false, true]) {
  const what = isReplaced ? "an older checkpoint" : "nothing";
  Deno.test(`checkpoints: a kill at every operation over ${what} leaves the old or the new`, async () => {
    const [before, after] = [plain(sample(1)), plain(sample(2))];
    const outcomes: string[] = [];
    for (let last = 1, isKilled = true; isKilled; last++) {
      await inFolder(async (folder) => {
        const path = join(folder, "last");
        if (isReplaced) await saveCheckpoint(path, sample(1), quick);
        const files = killedAt(last);
        isKilled = await saveCheckpoint(path, sample(2), files).then(() => false, () => true);

        const found = await loadCheckpoint(path).then(plain, (error) => error);
        const isNew = found.state?.step === 2;
        if (isNew || isReplaced) assert.deepEqual(found, isNew ? after : before);
        else assert.match(found.message, /^no checkpoint /);
        outcomes.push(isNew ? "new" : "old");

        const opened = await CheckpointFolder.open(folder, { files: quick });
        assert.deepEqual(namesIn(folder), isNew || isReplaced ? ["last"] : []);
        if (isNew || isReplaced) assert.deepEqual(plain(await loadCheckpoint(path)), found);
        await opened.save(sample(3));
        assert.deepEqual(plain(await loadCheckpoint(path)), plain(sample(3)));
      });
    }
    // Once the new one is there it stays, and the last run was not killed.
    assert.match(outcomes.join(" "), /^(old ){15,}(new ?)+$/);
    console.log(
      `  ${outcomes.length - 1} kills: ${outcomes.lastIndexOf("old") + 1} left the old one`,
    );
  });
}

Deno.test("checkpoints: a recovery may itself be killed at every operation", async () => {
  for (let last = 1, isKilled = true; isKilled; last++) {
    await inFolder(async (folder) => {
      const path = join(folder, "last");
      await saveCheckpoint(path, sample(1));
      // Operations of a save over an old one: 15 or so, the fourth last being the second rename.
      const whole = killedAt(Infinity);
      await saveCheckpoint(path, sample(1), whole);
      await saveCheckpoint(path, sample(2), killedAt(whole.count - 2)).catch(() => {});
      assert.deepEqual(namesIn(folder).map((name) => name.replace(/\w{8}-.{27}/, "ID")), [
        ".last.ID.old",
        ".last.ID.tmp",
      ]);
      isKilled = await recoverFolders(folder, killedAt(last)).then(() => false, () => true);
      assert.deepEqual(plain(await loadCheckpoint(path)), plain(sample(2)));
      await recoverFolders(folder);
      assert.deepEqual(namesIn(folder), ["last"]);
      assert.deepEqual(plain(await loadCheckpoint(path)), plain(sample(2)));
    });
  }
});

Deno.test("checkpoints: a disk that refuses leaves the old one and says so in one line", () =>
  inFolder(async (folder) => {
    const path = join(folder, "last");
    await saveCheckpoint(path, sample(1));
    for (let last = 1, isRefused = true; isRefused; last++) {
      const error = await saveCheckpoint(path, sample(2), killedAt(last, true))
        .then(() => undefined, (error) => error);
      isRefused = error !== undefined;
      if (!isRefused) continue;
      assert.equal(
        error.message,
        `cannot save checkpoint "${path}": No space left on device (os error 28); what was saved before is whole; ` +
          "free disk space or allow writing there, then resume from it",
      );
      const { state: { step } } = await loadCheckpoint(path);
      // Once the new one has its name, only the old one's removal can be left to do.
      const left = namesIn(folder).filter((name) => name !== "last");
      assert.ok(left.length === 0 || (step === 2 && /\.old$/.test(left.join())), left.join());
      await recoverFolders(folder);
      if (step === 2) await saveCheckpoint(path, sample(1));
    }
  }));

Deno.test("keepTop keeps the best, the earlier among equals, and never NaN", () => {
  const named = (monitors: number[]) =>
    monitors.map((monitor, i) => ({ name: `${i}`, step: i, monitor }));
  const names = (monitors: number[], count: number, mode: "min" | "max") => {
    const { keep, drop } = keepTop(named(monitors), count, mode);
    return [keep, drop].map((list) => list.map(({ name }) => name).join(""));
  };
  assert.deepEqual(names([0.1, 0.4, 0.2, 0.3], 3, "max"), ["132", "0"]);
  assert.deepEqual(names([0.1, 0.4, 0.2, 0.3], 3, "min"), ["023", "1"]);
  assert.deepEqual(names([1, 1, 1, 1], 3, "max"), ["012", "3"]);
  assert.deepEqual(names([NaN, 2, Infinity, -Infinity], 3, "max"), ["213", "0"]);
  assert.deepEqual(names([NaN, NaN], 3, "min"), ["", "01"]);
  assert.deepEqual(names([1, 2], 0, "max"), ["", "01"]);
  assert.deepEqual(names([], 3, "max"), ["", ""]);
});

Deno.test("checkpoint folders keep the last and the best three, also over restarts", () =>
  inFolder(async (folder) => {
    const path = join(folder, "checkpoints");
    await Deno.mkdir(join(path, "mine"), { recursive: true });
    const accuracies = [0.2, 0.1, 0.4, 0.3, 0.4, undefined, 0.05];
    const kept: string[] = [];
    for (const [step, accuracy] of accuracies.entries()) {
      const checkpoints = await CheckpointFolder.open(path);
      const { saved, removed } = await checkpoints.save(sample(step, accuracy));
      assert.equal(saved.at(-1), checkpoints.last);
      kept.push(
        `${
          namesIn(path).filter((name) => name.startsWith("e")).map((name) => name[12])
        }-${removed.length}`,
      );
      assert.equal((await readCheckpoint(checkpoints.last)).state.step, step);
    }
    assert.deepEqual(kept, ["0-0", "0,1-0", "0,1,2-0", "0,2,3-1", "2,3,4-1", "2,3,4-0", "2,3,4-0"]);
    assert.deepEqual(namesIn(path), [
      "epoch1__step2__monitor0.400",
      "epoch1__step3__monitor0.300",
      "epoch1__step4__monitor0.400",
      "last",
      "mine",
    ]);
    const opened = await CheckpointFolder.open(path);
    assert.equal(opened.bestPath, join(path, "epoch1__step2__monitor0.400"));
    assert.equal((await CheckpointFolder.open(join(folder, "none"))).bestPath, undefined);
    const down = await CheckpointFolder.open(path, { count: 1, mode: "min" });
    const { saved, removed } = await down.save(sample(9, 0.35));
    assert.deepEqual([saved.length, removed.length], [1, 2]);
  }));

Deno.test("checkpoint folders: a kill at every operation of a save keeps the best one", async () => {
  for (let last = 1, isKilled = true; isKilled; last++) {
    await inFolder(async (folder) => {
      for (const [step, accuracy] of [[1, 0.1], [2, 0.2]]) {
        const before = await CheckpointFolder.open(folder, { count: 1, files: quick });
        await before.save(sample(step, accuracy));
      }
      const files = killedAt(last);
      isKilled = await CheckpointFolder.open(folder, { count: 1, files })
        .then((checkpoints) => checkpoints.save(sample(3, 0.3))).then(() => false, () => true);
      const opened = await CheckpointFolder.open(folder, { count: 1, files: quick });
      const best = await loadCheckpoint(opened.bestPath!);
      const lastOne = await loadCheckpoint(opened.last);
      assert.ok(best.monitor! >= 0.2 && best.monitor! >= lastOne.monitor!);
      assert.deepEqual(plain(best), plain(sample(best.state.step, best.monitor)));
      await opened.save(sample(4, 0.4));
      assert.deepEqual(namesIn(folder), ["epoch1__step4__monitor0.400", "last"]);
    });
  }
});

Deno.test("checkpoint folders leave a torn checkpoint alone, and rank exact values", () =>
  inFolder(async (folder) => {
    const opened = await CheckpointFolder.open(folder, { count: 2 });
    await opened.save(sample(1, 0.12341));
    await opened.save(sample(2, 0.12342));
    const torn = join(folder, checkpointName(1, 1, 0.12341));
    await Deno.truncate(join(torn, "state.json"), 10);
    const again = await CheckpointFolder.open(folder, { count: 1 });
    assert.equal(again.bestPath, join(folder, "epoch1__step2__monitor0.123"));
    await again.save(sample(3, 0.123415));
    assert.deepEqual(namesIn(folder), [
      "epoch1__step1__monitor0.123",
      "epoch1__step2__monitor0.123",
      "last",
    ]);
  }));

Deno.test("checkpoint folders that cannot be made are refused", () =>
  inFolder(async (folder) => {
    const file = join(folder, "file");
    await Deno.writeTextFile(file, "");
    await assert.rejects(CheckpointFolder.open(join(file, "checkpoints")), {
      name: "RangeError",
      message:
        /^cannot write checkpoints in ".*": Not a directory \(os error 20\); name a folder that can/,
    });
  }));

Deno.test("atomic files hold the old or the new content after a kill at every operation", async () => {
  for (let last = 1, isKilled = true; isKilled; last++) {
    await inFolder(async (folder) => {
      const path = join(folder, "test.json");
      await writeAtomic(path, "old");
      isKilled = await writeAtomic(path, "newer", killedAt(last)).then(() => false, () => true);
      const text = await Deno.readTextFile(path);
      assert.ok(text === "newer" || (isKilled && text === "old"), text);
      await recoverFolders(folder);
      assert.deepEqual(namesIn(folder), ["test.json"]);
    });
  }
});
