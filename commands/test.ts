/** Tests a checkpoint, which says itself what it is. */
import { configureTest, testCheckpoint } from "../training/test_checkpoint.ts";
import { asSettings, type Command, COMMON, onGpu, placesOf, print } from "./command.ts";

/** The command. */
export const test: Command = {
  help: "tests a checkpoint, which says itself what it is; key=value changes keys",
  options: {
    ckpt: { value: "CHECKPOINT", help: "short for --test_ckpt_path" },
    model: {
      value: "colar",
      help: "of configs/models, where CHECKPOINT is a published FILE.ckpt",
    },
    dataset: { value: "svamp", help: "of configs/datasets (the checkpoint's), or a path" },
    test_ckpt_path: { value: "CHECKPOINT", help: "a folder below checkpoints, or a FILE.ckpt" },
    save_latents: {
      value: "FILE",
      help: "keeps every latent in a safetensors file: docs/logs.md",
    },
    latent_layers: { value: "4,8", help: "blocks whose outputs it holds (the last one)" },
    ...COMMON,
  },
  takesSettings: true,
  run: async ({ text, flags, settings }) => {
    const path = text.ckpt ?? text.test_ckpt_path;
    if (path === undefined) throw new RangeError("test needs --ckpt=CHECKPOINT; see --help");
    const overrides = [...settings, ...asSettings(text)];
    const { save_latents: latentsPath, latent_layers: latentLayers } = text;
    const latents = { latentsPath, latentLayers };
    const data = {
      model: text.model,
      dataset: text.dataset,
      overrides,
      ...placesOf(text, flags),
    };
    const request = { path, ...data, ...latents };
    const { config } = await configureTest(request);
    if (flags.has("print_config")) return await print(config);
    await onGpu(text, (...on) => testCheckpoint(on[0], request, on[1]));
    return 0;
  },
};
