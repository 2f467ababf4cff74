/** A memory plan as text: `./denow task doctor --model_id=...`. */
import { apart, type AvailableMemory, fitsBuffer, gibibytes } from "./device_memory.ts";

/** What one use of a model takes on the device, in bytes. */
export interface UseFacts {
  /** All buffers. */
  readonly bytes: number;
  /** The largest buffer. */
  readonly largestBuffer: number;
  /** The model's own largest tensor, which no choice of rows changes. */
  readonly largestTensor: number;
}

/** What a plan says of a model and a batch. */
export interface PlanFacts {
  readonly model: string;
  readonly batchSize: number;
  readonly length: number;
  /** Rank of the adapter. */
  readonly r: number;
  /** By what it is for, in the order of the report. */
  readonly uses: Readonly<Record<string, UseFacts>>;
  readonly maxBufferSize: number;
  readonly available: AvailableMemory | undefined;
}

/** The report: a line for each use, with whether it fits. */
export function planReport(facts: PlanFacts): string {
  const { model, batchSize, length, uses, available, maxBufferSize } = facts;
  const lines = Object.entries(uses).map(([what, use]) => {
    const sizes = [use.bytes, use.largestBuffer].map((size) => gibibytes(size).padStart(11));
    return `  ${what.padEnd(42)}${sizes.join("")}  ${verdict(use, facts)}`.trimEnd();
  });
  const free = available
    ? `${gibibytes(available.bytes)} (${available.origin})`
    : "unknown; set COLAR_GPU_MEMORY to the card's free MiB";
  const head = `Memory     ${model}, ${batchSize} rows of ${length} tokens; available: ${free}`;
  const columns = ["all", "one buffer"].map((name) => name.padStart(11));
  return [
    head,
    `  ${"".padEnd(42)}${columns.join("")}  of at most ${gibibytes(maxBufferSize)}`,
    ...lines,
    "  What a method trains beside the backbone comes on top, 16 bytes for each number.",
  ].join("\n");
}

/** Whether a use fits: the memory that is free, where that is known, and the adapter's largest buffer. */
function verdict(use: UseFacts, { available, maxBufferSize }: PlanFacts): string {
  if (!fitsBuffer(use.largestBuffer, maxBufferSize)) {
    const [needed, most] = apart(use.largestBuffer, maxBufferSize);
    const isOfRows = fitsBuffer(use.largestTensor, maxBufferSize);
    return `needs a buffer of ${needed}, the adapter's largest is ${most}: use ${
      isOfRows ? "fewer or shorter rows" : "a smaller model, or 16-bit weights with do_lora=True"
    }`;
  }
  if (!available) return "";
  return use.bytes <= available.bytes ? "fits" : "does not fit";
}
