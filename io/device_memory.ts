/**
 * Memory that a device has left for a model: WebGPU does not say, so others are asked.
 *
 * A software device computes in this machine's memory, of which Deno knows what is free. For a card it is what
 * COLAR_GPU_MEMORY says in MiB, which `denow` asks of NVIDIA's tool; for other cards it may be set by hand.
 */
import type { Gpu } from "../gpu/device.ts";
import { sizeClass } from "../gpu/pool.ts";
import { environment } from "./cache_folder.ts";

/** Memory that is free. */
export interface AvailableMemory {
  readonly bytes: number;
  /** Where that number comes from. */
  readonly origin: string;
}

/** What is known of memory; a test says it itself. */
export interface KnownMemory {
  /** MiB that are free on the card, as text. */
  readonly card: string | undefined;
  /** Bytes that are free in this machine. */
  readonly machine: number | undefined;
}

/** What is free for a device; undefined where nobody knows. */
export function availableMemory(
  { info }: Pick<Gpu, "info">,
  { card, machine }: KnownMemory = knownMemory(),
): AvailableMemory | undefined {
  if (/llvmpipe|swiftshader|software/i.test(info.description || info.device)) {
    return machine === undefined ? undefined : { bytes: machine, origin: "free in this machine" };
  }
  const mebibytes = Number(card);
  if (!card || !(mebibytes > 0)) return undefined;
  return { bytes: mebibytes * 2 ** 20, origin: "COLAR_GPU_MEMORY" };
}

/** As far as the permissions reach. */
function knownMemory(): KnownMemory {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  const machine = state === "granted" ? Deno.systemMemoryInfo().available : undefined;
  return { card: environment("COLAR_GPU_MEMORY"), machine };
}

/**
 * Refuses weights that do not fit, before anything of them is loaded.
 * @param byteLengths what each tensor takes
 * @param available what is free; undefined where nobody knows, and only single buffers are checked
 * @throws {RangeError} saying how much is needed, and how much there is.
 */
export function checkFits(
  name: string,
  byteLengths: readonly number[],
  { maxBufferSize }: Gpu["limits"],
  available: AvailableMemory | undefined,
): void {
  const largest = byteLengths.reduce((a, b) => Math.max(a, b), 0);
  if (!fitsBuffer(largest, maxBufferSize)) {
    const [needed, most] = apart(largest, maxBufferSize);
    throw new RangeError(
      `${name}: its largest tensor takes ${needed} on the device, whose largest buffer is ` +
        `${most}; use a smaller model, or 16-bit weights with do_lora=True`,
    );
  }
  const needed = byteLengths.reduce((a, b) => a + b, 0);
  if (!available || needed <= available.bytes) return;
  const [wanted, free] = apart(needed, available.bytes);
  throw new RangeError(
    `${name}: its weights take ${wanted} on the device, ${free} are ` +
      `available (${available.origin}); use a smaller model, or ./denow task doctor --model_id=... for a plan`,
  );
}

/** Whether the adapter gives a buffer of so many bytes. */
export function fitsBuffer(byteLength: number, maxBufferSize: number): boolean {
  return sizeClass(byteLength, maxBufferSize) <= maxBufferSize;
}

/** Two sizes of which one is too large for the other: in GiB where these differ, else in bytes. */
export function apart(...sizes: [number, number]): string[] {
  const [a, b] = sizes.map(gibibytes);
  return a === b ? sizes.map((size) => `${size} bytes`) : [a, b];
}

/** Bytes in GiB, as `2.30 GiB`. */
export function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
