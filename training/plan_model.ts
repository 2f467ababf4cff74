/** The doctor's plan of memory for a model that is not loaded yet. */
import type { Gpu } from "../gpu/device.ts";
import { availableMemory } from "../io/device_memory.ts";
import { openWeights, readModelConfig } from "../io/load_model.ts";
import type { PlanFacts } from "../io/plan_report.ts";
import { findModel } from "./build.ts";
import { planMemory } from "./memory_plan.ts";

/** What a command line asks for. */
export interface ModelPlanRequest {
  readonly model_id: string;
  /** Rows at once, as text. @default 8 */
  readonly batchSize?: string;
  /** Tokens of a row, as text. @default 256 */
  readonly length?: string;
  readonly workspace: string;
}

const R = 128; // the published adapter's rank

/**
 * Plans training and generation of a model.
 * @throws {RangeError} for a model that is not there, or a number that is none.
 */
export async function planModel(
  device: Pick<Gpu, "limits" | "info" | "isSoftware">,
  { model_id, workspace, ...asked }: ModelPlanRequest,
): Promise<PlanFacts> {
  const [batchSize, length] = [
    countOf("batch_size", asked.batchSize ?? "8"),
    countOf("length", asked.length ?? "256"),
  ];
  const folder = await findModel(model_id, workspace);
  const config = await readModelConfig(folder);
  using weights = await openWeights(folder);
  const isBf16 = (name: string) =>
    (weights.info(name) ?? weights.info(`transformer.${name}`))?.dtype === "BF16";
  const rows = { batchSize, length, r: R };
  const plan = planMemory({ config, isBf16, device, ...rows });
  const bytes = {
    "weights": plan.weights,
    [`training, LoRA of rank ${R}`]: plan.lora,
    "training, LoRA, activation_checkpointing": plan.loraCheckpointed,
    "training, all": plan.full,
    "training, all, activation_checkpointing": plan.fullCheckpointed,
    "generation": plan.generation,
  };
  const { largestBuffer } = plan;
  const { maxBufferSize } = device.limits;
  const available = availableMemory(device);
  return { model: model_id, ...rows, bytes, largestBuffer, maxBufferSize, available };
}

function countOf(name: string, text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new RangeError(`--${name} must be an integer from 1, got '${text}'`);
}
