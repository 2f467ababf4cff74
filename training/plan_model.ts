/** The doctor's plan of memory for a model that is not loaded yet, and not fetched either where it is one of the Hub. */
import { join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import { availableMemory } from "../io/device_memory.ts";
import type { HubOptions } from "../io/hub.ts";
import { parseHubId } from "../io/hub_cache.ts";
import { hubOutline, type ModelOutline } from "../io/hub_headers.ts";
import { readModelConfig } from "../io/load_model.ts";
import type { PlanFacts } from "../io/plan_report.ts";
import { openCheckpoint } from "../io/safetensors.ts";
import { findFolder, findModel } from "./build.ts";
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
 * @param hub how the Hub is asked
 * @throws {RangeError} for a model that is not there, or a number that is none; else as `hubOutline` does.
 */
export async function planModel(
  device: Pick<Gpu, "limits" | "info" | "isSoftware">,
  { model_id, workspace, ...asked }: ModelPlanRequest,
  hub: HubOptions = {},
): Promise<PlanFacts> {
  const [batchSize, length] = [
    countOf("batch_size", asked.batchSize ?? "8"),
    countOf("length", asked.length ?? "256"),
  ];
  const { folder, tensors } = await outlineOf(model_id, workspace, hub);
  const config = await readModelConfig(folder);
  const request = {
    config,
    storedAs: typesIn(tensors),
    device,
    lengths: Array(batchSize).fill(length),
  };
  const plan = planMemory({ ...request, r: R });
  const uses = {
    "weights": plan.weights,
    [`training, LoRA of rank ${R}`]: plan.lora,
    "training, LoRA, activation_checkpointing": plan.loraCheckpointed,
    "training, all": plan.full,
    "training, all, activation_checkpointing": plan.fullCheckpointed,
    "generation": plan.generation,
  };
  const { maxBufferSize } = device.limits;
  const available = availableMemory(device);
  return { model: model_id, batchSize, length, r: R, uses, maxBufferSize, available };
}

/** A tensor's type in a model's files, which may put GPT-2's prefix before its name. */
export function typesIn(
  tensors: ModelOutline["tensors"],
): (name: string) => string | undefined {
  return (name) => (tensors.get(name) ?? tensors.get(`transformer.${name}`))?.dtype;
}

/** What a model's folder holds, or what the Hub says of a model that is in none. */
async function outlineOf(id: string, workspace: string, hub: HubOptions): Promise<ModelOutline> {
  const repo = parseHubId(id, "model");
  const isHere = await findFolder(id, join(workspace, "models", "llms", id));
  if (repo && !isHere) return await hubOutline(repo, hub);
  const folder = await findModel(id, workspace);
  using weights = await openCheckpoint(folder);
  return { folder, tensors: weights.tensors };
}

function countOf(name: string, text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new RangeError(`--${name} must be an integer from 1, got '${text}'`);
}
