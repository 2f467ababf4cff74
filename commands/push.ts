/** Uploads a checkpoint to the Hub. */
import { pushCheckpoint } from "../io/hub_push.ts";
import { interruptible } from "../io/interrupt.ts";
import { Report } from "../io/report.ts";
import type { Command } from "./command.ts";

/** The command. */
export const push: Command = {
  help: "uploads a checkpoint, its configuration and a card to the Hub",
  options: {
    ckpt: { value: "CHECKPOINT", help: "a folder below a run's checkpoints" },
    repo: { value: "OWNER/NAME", help: "made, private, where it is not there yet" },
    public: { help: "makes it public" },
  },
  run: async ({ text: { ckpt, repo }, flags }) => {
    if (ckpt === undefined || repo === undefined) {
      throw new RangeError("push needs --ckpt=CHECKPOINT and --repo=OWNER/NAME; see --help");
    }
    const request = { path: ckpt, repo, isPublic: flags.has("public") };
    const { url } = await interruptible((signal) =>
      pushCheckpoint(request, { report: new Report(), signal })
    );
    console.log(`${ckpt} is at ${url}`);
    return 0;
  },
};
