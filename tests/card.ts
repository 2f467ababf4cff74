/** A device that says to be a card with so much memory free: what is known of it is what COLAR_GPU_MEMORY says. */
import type { Gpu } from "../gpu/device.ts";
import { withEnvironment } from "./environment.ts";

/** Runs work on the test's own device under a card's name. */
export async function onCard(
  gpu: Gpu,
  mebibytes: number,
  work: (card: Gpu) => Promise<void>,
): Promise<void> {
  const info = { ...gpu.info, device: "", description: "a card" };
  const card = new Proxy(gpu, {
    get(target, key) {
      if (key === "info") return info;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  await withEnvironment({ COLAR_GPU_MEMORY: `${mebibytes}` }, () => work(card));
}
