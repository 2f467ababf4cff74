/** Run folders: names, contents, resuming, and disks that refuse. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { AppendFile, type AppendHandle } from "../../io/atomic.ts";
import {
  describeEnvironment,
  noLog,
  openRunLog,
  runFolderOf,
  type RunLogOptions,
} from "../../io/run_log.ts";

const TIME = Date.UTC(2026, 0, 31, 13, 5, 9, 42);
const NAME = "20260131-130509-abc123";

function options(workspace: string, other: Partial<RunLogOptions> = {}): RunLogOptions {
  return {
    workspace,
    model: "colar",
    dataset: "arith",
    config: "lr: 1e-4\n",
    environment: { deno: "2" },
    now: () => TIME,
    random: () => "abc123",
    ...other,
  };
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
const textOf = (folder: string, name: string) => Deno.readTextFile(join(folder, name));

Deno.test("run logs write their folder", () =>
  inFolder(async (workspace) => {
    using log = await openRunLog(options(workspace, { suffix: "try-1" }));
    const folder = join(workspace, "logs", "colar", "arith", `${NAME}-try-1`);
    assert.deepEqual([log.folder, log.checkpoints], [folder, join(folder, "checkpoints")]);
    log.line("start\nsecond line\n");
    log.step(1, { loss: 2.5, split: "train" });
    log.step(2, { loss: NaN, "grad norm": Infinity });
    log.step(2, { split: "val" });
    await log.test({ acc: [0.5, NaN] });
    await log.test({ acc: 0.25 });
    log.sync();
    assert.deepEqual(namesIn(folder), [
      "config.yaml",
      "environment.json",
      "events.out.tfevents.1769864709.colar",
      "logs.txt",
      "test.json",
      "train.json",
    ]);
    const time = "2026-01-31T13:05:09.042Z";
    assert.equal(await textOf(folder, "logs.txt"), `${time} start\n${time} second line\n`);
    assert.equal(
      await textOf(folder, "train.json"),
      '{"step":1,"loss":2.5,"split":"train"}\n' +
        '{"step":2,"loss":"NaN","grad norm":"Infinity"}\n' +
        '{"step":2,"split":"val"}\n',
    );
    assert.equal(await textOf(folder, "test.json"), '{\n  "acc": 0.25\n}\n');
    assert.equal(await textOf(folder, "config.yaml"), "lr: 1e-4\n");
    assert.equal(await textOf(folder, "environment.json"), '{\n  "deno": "2"\n}\n');
    for (const name of namesIn(folder)) {
      assert.ok(!(await textOf(folder, name)).includes(workspace));
    }
  }));

Deno.test("run logs of one second get folders of their own", () =>
  inFolder(async (workspace) => {
    const digits = ["aaaaaa", "aaaaaa", "bbbbbb"];
    const random = () => digits.shift() ?? "aaaaaa";
    using first = await openRunLog(options(workspace, { random }));
    using second = await openRunLog(options(workspace, { random }));
    assert.ok(first.folder?.endsWith("-aaaaaa") && second.folder?.endsWith("-bbbbbb"));
    await assert.rejects(openRunLog(options(workspace, { random })), {
      name: "RangeError",
      message: /File exists \(os error 17\); name a folder/,
    });
    using drawn = await openRunLog(options(workspace, { random: undefined }));
    assert.match(drawn.folder!, /-[0-9a-f]{6}$/);
  }));

Deno.test("run logs make a dataset's folder fit, and refuse other names that do not", () =>
  inFolder(async (workspace) => {
    for (
      const [dataset, name] of [["/data/my rows", "my_rows"], ["../GSM8k-Aug/", "GSM8k-Aug"], [
        "..",
        "_",
      ], ["数据", "数据"]]
    ) {
      using log = await openRunLog(options(workspace, { dataset }));
      assert.equal(log.folder, join(workspace, "logs", "colar", name, NAME));
    }
    const rule = "it names a folder: use letters, digits, '-', '_', and '.' but not first";
    for (const suffix of ["a/b", "..", ".a", "a b", "a\n"]) {
      await assert.rejects(openRunLog(options(workspace, { suffix })), {
        name: "RangeError",
        message: `log_suffix ${JSON.stringify(suffix)} cannot be logged; ${rule}`,
      });
    }
    await assert.rejects(openRunLog(options(workspace, { model: "" })), {
      message: `model "" cannot be logged; ${rule}`,
    });
  }));

Deno.test("resumed run logs go on without a step twice", () =>
  inFolder(async (workspace) => {
    const loss = (step: number) => ({ loss: 1 / step });
    let folder = "";
    {
      using log = await openRunLog(options(workspace));
      folder = log.folder!;
      for (let step = 1; step <= 7; step++) log.step(step, loss(step));
      log.line("killed here");
    }
    // What a power failure may leave of the last line.
    await Deno.writeTextFile(join(folder, "train.json"), '{"step":8,"lo', { append: true });
    await Deno.writeTextFile(join(folder, "logs.txt"), "2026-01", { append: true });
    const resume = { folder, step: 4 };
    {
      using log = await openRunLog(options("elsewhere", { resume, config: "lr: 2\n" }));
      assert.equal(log.folder, folder);
      for (let step = 5; step <= 8; step++) log.step(step, loss(step));
      log.line("resumed");
    }
    using whole = await openRunLog(options(workspace, { suffix: "whole" }));
    for (let step = 1; step <= 8; step++) whole.step(step, loss(step));
    assert.equal(await textOf(folder, "train.json"), await textOf(whole.folder!, "train.json"));
    const replaced = (await textOf(folder, "train_replaced.json")).trimEnd().split("\n");
    assert.equal(replaced.length, 4);
    assert.deepEqual(replaced[0], JSON.stringify({ step: 5, ...loss(5) }));
    assert.match(await textOf(folder, "logs.txt"), / killed here\n2026-01\n\S+ resumed\n$/);
    assert.equal(await textOf(folder, "config.yaml"), "lr: 2\n");
    assert.equal(namesIn(folder).filter((name) => name.includes("tfevents")).length, 2);
  }));

Deno.test("run logs go on in a finished run without dropping anything", () =>
  inFolder(async (workspace) => {
    using log = await openRunLog(options(workspace));
    const folder = log.folder!;
    log.step(3, { loss: 1 });
    using again = await openRunLog(options(workspace, { resume: { folder } }));
    again.step(3, { acc: 0.5 });
    assert.equal(await textOf(folder, "train.json"), '{"step":3,"loss":1}\n{"step":3,"acc":0.5}\n');
    assert.ok(!namesIn(folder).includes("train_replaced.json"));

    const missing = join(workspace, "none");
    await assert.rejects(openRunLog(options(workspace, { resume: { folder: missing } })), {
      name: "RangeError",
      message: `cannot go on in ${JSON.stringify(missing)}: a run's folder has a train.json; ` +
        "name a checkpoint below logs/, or start anew with --load_ckpt_path",
    });
    assert.deepEqual(namesIn(workspace), ["logs"]);
  }));

Deno.test("run logs know the run that a checkpoint is of", () => {
  assert.equal(runFolderOf("logs/colar/arith/x/checkpoints/last"), "logs/colar/arith/x");
  assert.equal(runFolderOf("logs/colar/arith/x/checkpoints/last/"), "logs/colar/arith/x");
  assert.equal(runFolderOf("downloads/last"), undefined);
});

Deno.test("run logs in a place that cannot be written are refused in one line", () =>
  inFolder(async (workspace) => {
    const next = "name a folder that can be written with --workspace_path, or add --no_log";
    await Deno.writeTextFile(join(workspace, "logs"), "a file");
    const folder = JSON.stringify(join(workspace, "logs", "colar", "arith"));
    await assert.rejects(openRunLog(options(workspace)), {
      name: "RangeError",
      message: `cannot write logs in ${folder}: Not a directory (os error 20); ${next}`,
    });
  }));

Deno.test("resumed run logs that cannot be written say that the run is whole", () =>
  inFolder(async (workspace) => {
    const folder = join(workspace, "run");
    await Deno.mkdir(join(folder, "config.yaml/in the way"), { recursive: true });
    await Deno.writeTextFile(join(folder, "train.json"), "");
    await assert.rejects(openRunLog(options(workspace, { resume: { folder } })), {
      name: "RangeError",
      message: `cannot write logs in ${JSON.stringify(folder)}: Is a directory (os error 21); ` +
        "what was written before is whole; free disk space or allow writing there",
    });
  }));

Deno.test({
  name: "run logs without the permission to write are refused in one line",
  permissions: { read: true, write: false },
  fn: () =>
    assert.rejects(openRunLog(options("here")), (error: Error) => {
      assert.equal(error.name, "RangeError");
      assert.match(
        error.message,
        /^cannot write logs in "here.*write access.*; name a folder.*--no_log$/,
      );
      return true;
    }),
});

Deno.test("run logs: a file that can no longer be written says what to do", () =>
  inFolder(async (workspace) => {
    const log = await openRunLog(options(workspace));
    log.step(1, { loss: 1 });
    log[Symbol.dispose](); // writing to a closed file stands for a disk that refuses
    const folder = JSON.stringify(log.folder);
    const next = "what was written before is whole; free disk space or allow writing there, then " +
      `go on with --resume_ckpt_path=${log.folder}/checkpoints/last`;
    const refuses = (action: () => void, what: string) =>
      assert.throws(action, {
        name: "Error",
        message: `cannot write ${what} in ${folder}: Bad resource ID; ${next}`,
      });
    refuses(() => log.step(2, { loss: 1 }), "train.json");
    refuses(() => log.line("x"), "logs.txt");
    refuses(() => log.sync(), "logs");
    await Deno.mkdir(join(log.folder!, "test.json"));
    await assert.rejects(log.test({}), {
      message: `cannot write test.json in ${folder}: Is a directory (os error 21); ${next}`,
    });
    assert.equal(await textOf(log.folder!, "train.json"), '{"step":1,"loss":1}\n');
  }));

Deno.test("run logs refuse a step that is no whole number", () =>
  inFolder(async (workspace) => {
    using log = await openRunLog(options(workspace));
    for (const step of [-1, 1.5, NaN]) {
      assert.throws(() => log.step(step, { loss: 1 }), {
        name: "RangeError",
        message: `run log: step must be a whole number >= 0, got ${step}`,
      });
    }
    assert.equal(await textOf(log.folder!, "train.json"), "");
  }));

Deno.test({
  name: "noLog writes nothing",
  permissions: "none",
  fn: async () => {
    using log = noLog;
    log.line("x");
    log.step(1, { loss: 1 });
    await log.test({});
    log.sync();
    assert.deepEqual([log.folder, log.checkpoints], [undefined, undefined]);
  },
});

Deno.test("environments name versions and adapter, and no path", async () => {
  const environment = await describeEnvironment({ description: "llvmpipe" });
  assert.deepEqual(environment.adapter, { description: "llvmpipe" });
  assert.equal(environment.deno, Deno.version.deno);
  assert.ok(typeof environment.packages === "object" && environment.packages !== null);
  assert.doesNotMatch(JSON.stringify(environment), new RegExp(`${Deno.cwd()}|/home|/root`));
});

/** A file in memory that takes `room` bytes, at most three at a time, and then is full. */
function smallDisk(room: number): AppendHandle & { text: string } {
  const file = {
    text: "",
    writeSync(bytes: Uint8Array) {
      if (file.text.length >= room) throw new Error("No space left on device (os error 28)");
      const part = bytes.subarray(0, Math.min(3, room - file.text.length));
      file.text += new TextDecoder().decode(part);
      return part.length;
    },
    truncateSync(length: number) {
      file.text = file.text.slice(0, length);
    },
    syncDataSync() {},
    statSync: () => ({ size: file.text.length }),
    [Symbol.dispose]() {},
  };
  return file;
}

Deno.test("appended records are whole wherever the disk is full, and go on when it no longer is", () => {
  for (let room = 0; room <= 20; room++) {
    let handle = smallDisk(room);
    const file = new AppendFile("x", () => handle = smallDisk(room));
    const records = ["first\n", "second\n", "third\n"];
    const written = records.filter((record) => {
      try {
        file.append(record);
        return true;
      } catch (error) {
        assert.match(String(error), /No space left/);
        return false;
      }
    });
    assert.equal(handle.text, written.join(""));
    assert.equal(written.length === 3, room >= 19);
  }
});
