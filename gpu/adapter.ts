/**
 * The adapter: which one, with which features and limits, and what is recorded about it.
 */

/** Who computes: recorded with every run and every benchmark. */
export interface AdapterInfo {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** Subgroup size where it is the same for every kernel, else 0. */
  readonly subgroupSize: number;
  readonly features: readonly string[];
}

/** The limits that callers decide by, in bytes or counts. */
export interface Limits {
  readonly maxBufferSize: number;
  readonly maxBinding: number;
  readonly storageAlignment: number;
  readonly uniformAlignment: number;
  readonly maxWorkgroups: number;
}

/**
 * Opens the default adapter's device with all the limits that it has, subgroups and timestamps where it has them.
 * @throws {Error} when there is no adapter.
 */
export async function openDevice(): Promise<{ device: GPUDevice; info: AdapterInfo }> {
  const adapter = await requestAdapter();
  const features: GPUFeatureName[] = (["timestamp-query", "shader-f16"] as const)
    .filter((f) => adapter.features.has(f));
  // Deno does not list subgroups among the adapter's features: asking is the only test.
  let device: GPUDevice;
  try {
    device = await requestDevice(adapter, [...features, "subgroups"]);
    features.push("subgroups");
  } catch {
    device = await requestDevice(await requestAdapter(), features);
  }
  const i = adapter.info;
  const sizes = i as unknown as { subgroupMinSize?: number; subgroupMaxSize?: number };
  const fixed = sizes.subgroupMinSize === sizes.subgroupMaxSize && features.includes("subgroups");
  const info: AdapterInfo = {
    vendor: i.vendor,
    architecture: i.architecture,
    device: i.device,
    description: i.description,
    subgroupSize: fixed ? sizes.subgroupMinSize ?? 0 : 0,
    features,
  };
  return { device, info };
}

async function requestAdapter(): Promise<GPUAdapter> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (adapter) return adapter;
  throw new Error(
    "No WebGPU adapter found. On a machine without a GPU: apt-get install mesa-vulkan-drivers",
  );
}

async function requestDevice(
  adapter: GPUAdapter,
  requiredFeatures: GPUFeatureName[],
): Promise<GPUDevice> {
  const l = adapter.limits;
  return await adapter.requestDevice({
    requiredFeatures,
    requiredLimits: {
      maxBufferSize: l.maxBufferSize,
      maxStorageBufferBindingSize: l.maxStorageBufferBindingSize,
      maxStorageBuffersPerShaderStage: Math.min(16, l.maxStorageBuffersPerShaderStage),
      maxComputeWorkgroupStorageSize: l.maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup: Math.min(256, l.maxComputeInvocationsPerWorkgroup),
    },
  });
}
