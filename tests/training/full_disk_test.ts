/** A run on a disk that fills up: it ends with one line, and what was saved before is whole. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { disk, type Files, type OpenFile } from "../../io/atomic.ts";
import { checkpointsIn, loadCheckpoint } from "../../io/checkpoint.ts";
import { CheckpointFolder } from "../../io/checkpoint_folder.ts";
import { userMessage } from "../../io/user_error.ts";
import { writeTensors } from "../../training/tensors.ts";
import { train } from "../../training/trainer.ts";
import { gpuTest } from "../check_op.ts";
import { fakeConfig, fakeMethod, fakeRows, quietReport } from "./fake_method.ts";

const NO_SPACE = "No space left on device (os error 28)";
const dataset = { train: fakeRows(18), val: fakeRows(9) }; // an epoch: four batches of 4 and one of 2

/** A disk with room for so many bytes, files that were removed included: what does not fit is written in part. */
function smallDisk(room: number): { files: Files; written: () => number } {
  let written = 0;
  const files: Files = {
    ...disk,
    async create(path): Promise<OpenFile> {
      const file = await disk.create(path);
      return {
        ...file,
        async write(bytes) {
          const fits = bytes.subarray(0, Math.max(0, room - written));
          await file.write(fits);
          written += fits.length;
          if (fits.length < bytes.length) throw new Error(NO_SPACE);
        },
      };
    },
  };
  return { files, written: () => written };
}

gpuTest(
  "a full disk ends a run with one line; earlier checkpoints load, and it goes on",
  async (gpu) => {
    const config = await fakeConfig("save_top_k=0");
    const parent = await Deno.makeTempDir();
    try {
      const run = async (folder: string, files: Files, path?: string) => {
        using method = fakeMethod(gpu);
        const checkpoints = await CheckpointFolder.open(folder, { count: 0, files });
        const resume = path === undefined
          ? undefined
          : { path, checkpoint: await loadCheckpoint(path) };
        if (resume) writeTensors(gpu, method.parameters, resume, { complete: true });
        const { report } = quietReport();
        return await train({ gpu, method, config, dataset, report, checkpoints, resume })
          .catch((error: Error) => error);
      };
      const whole = join(parent, "whole");
      const roomy = smallDisk(Infinity);
      assert.deepEqual(await run(whole, roomy.files), { step: 15, isInterrupted: false });
      const perSave = roomy.written() / 3; // one at the end of each epoch

      // The second save stops in its first file, in its middle, and just before its end.
      for (const share of [1.001, 1.5, 1.95]) {
        const folder = join(parent, `room ${share}`);
        const error = await run(folder, smallDisk(share * perSave).files);
        const last = join(folder, "last");
        assert.equal(
          userMessage(error),
          `cannot save checkpoint "${last}": ${NO_SPACE}; what was saved before is whole; ` +
            "free disk space or allow writing there, then resume from it",
        );
        assert.deepEqual(await checkpointsIn(folder), ["last"]);
        assert.equal((await loadCheckpoint(last)).state.step, 5);
        assert.deepEqual(Array.from(Deno.readDirSync(folder), ({ name }) => name), ["last"]);
        assert.deepEqual(await run(folder, disk, last), { step: 15, isInterrupted: false });
        const resumed = await Deno.readFile(join(last, "model.safetensors"));
        assert.deepEqual(resumed, await Deno.readFile(join(whole, "last/model.safetensors")));
      }
    } finally {
      await Deno.remove(parent, { recursive: true });
    }
  },
);
