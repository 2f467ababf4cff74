/** A memory plan as text: `./denow task doctor --model_id=...`. */
import type { AvailableMemory } from "./device_memory.ts";
import { gibibytes } from "./device_memory.ts";

/** What a plan says of a model and a batch. */
export interface PlanFacts {
  readonly model: string;
  readonly batchSize: number;
  readonly length: number;
  /** Rank of the adapter. */
  readonly r: number;
  /** Bytes by what they are for, in the order of the report. */
  readonly bytes: Readonly<Record<string, number>>;
  readonly largestBuffer: number;
  readonly maxBufferSize: number;
  readonly available: AvailableMemory | undefined;
}

/** The report: a line for each use, with whether it fits. */
export function planReport(facts: PlanFacts): string {
  const { model, batchSize, length, bytes, available, largestBuffer, maxBufferSize } = facts;
  const rows = Object.entries(bytes).map(([what, needed]) => {
    const fits = available ? needed <= available.bytes ? "fits" : "does not fit" : "";
    return `  ${what.padEnd(42)} ${gibibytes(needed).padStart(11)}  ${fits}`.trimEnd();
  });
  const free = available
    ? `${gibibytes(available.bytes)} (${available.origin})`
    : "unknown; set COLAR_GPU_MEMORY to the card's free MiB";
  const last = largestBuffer > maxBufferSize
    ? [
      `  A buffer of ${gibibytes(largestBuffer)} is needed, the adapter's largest is ${
        gibibytes(maxBufferSize)
      }: use fewer rows`,
    ]
    : [];
  return [
    `Memory     ${model}, ${batchSize} rows of ${length} tokens; available: ${free}`,
    ...rows,
    ...last,
    "  What a method trains beside the backbone comes on top, 16 bytes for each number.",
  ].join("\n");
}
