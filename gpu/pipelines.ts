/**
 * What a dispatch is bound to: pipelines by kernel and constants, bind groups by pipeline and tensors, both cached.
 *
 * Everything that can be checked before the driver sees it is checked here, where it costs nothing when cached.
 */
import type { Limits } from "./adapter.ts";
import { type Constants, type Kernel, specialise } from "./kernel.ts";
import type { Tensor } from "./tensor.ts";

/** A compiled kernel. */
export interface Pipeline {
  readonly id: number;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** Pipelines and bind groups of one device. */
export class Pipelines {
  #pipelines = new WeakMap<Kernel, Map<string, Pipeline>>();
  #numPipelines = 0;
  #groups = new Map<string, GPUBindGroup>();

  /**
   * @param params the buffer that holds every call's parameters
   * @param keepError pops the validation scope that was pushed before, and keeps its error with the kernel's path
   */
  constructor(
    private readonly device: GPUDevice,
    private readonly limits: Limits,
    private readonly params: GPUBuffer,
    private readonly keepError: (kernel: Kernel, what: string) => void,
  ) {}

  /** The kernel with these constants, compiled once. */
  pipeline(kernel: Kernel, constants: Constants): Pipeline {
    const variants = this.#pipelines.get(kernel) ?? new Map<string, Pipeline>();
    this.#pipelines.set(kernel, variants);
    const key = JSON.stringify(constants);
    const cached = variants.get(key);
    if (cached) return cached;
    const { source, overrides } = specialise(kernel, constants);
    this.device.pushErrorScope("validation");
    const module = this.device.createShaderModule({ label: kernel.path, code: source });
    const entries: GPUBindGroupLayoutEntry[] = kernel.bindings.map((b) => ({
      binding: b.index,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: b.writable ? "storage" : "read-only-storage" },
    }));
    if (kernel.params.length > 0) {
      entries.push({
        binding: 0,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: "uniform", hasDynamicOffset: true },
      });
    }
    const layout = this.device.createBindGroupLayout({ label: kernel.path, entries });
    const pipeline = this.device.createComputePipeline({
      label: kernel.path,
      layout: this.device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main", constants: overrides },
    });
    this.keepError(kernel, key);
    const made = { id: this.#numPipelines++, pipeline, layout };
    variants.set(key, made);
    return made;
  }

  /**
   * The tensors of one call as the pipeline takes them.
   * @throws {RangeError} for a tensor that the adapter cannot bind, {TypeError} for a written one that is bound twice.
   */
  bindGroup(
    kernel: Kernel,
    { id, layout }: Pipeline,
    tensors: Readonly<Record<string, Tensor>>,
  ): GPUBindGroup {
    let key = `${id}`;
    for (const { name } of kernel.bindings) {
      const t = tensors[name];
      key += `,${t.allocation.id}:${t.byteOffset}:${this.#boundSize(t)}`;
    }
    const cached = this.#groups.get(key);
    if (cached) return cached;
    checkAliases(kernel, tensors);
    const entries: GPUBindGroupEntry[] = kernel.bindings.map(({ name, index }) => {
      const t = tensors[name];
      this.#checkBinding(kernel, name, t);
      return {
        binding: index,
        resource: {
          buffer: t.allocation.buffer,
          offset: t.byteOffset,
          size: this.#boundSize(t),
        },
      };
    });
    if (kernel.params.length > 0) {
      const size = Math.ceil(kernel.params.length / 4) * 16;
      entries.push({ binding: 0, resource: { buffer: this.params, size } });
    }
    this.device.pushErrorScope("validation");
    const group = this.device.createBindGroup({ layout, entries });
    const shapes = Object.entries(tensors).map(([name, t]) => `${name}=${t}`).join(" ");
    this.keepError(kernel, shapes);
    if (this.#groups.size > 20_000) this.#groups.clear(); // shapes of a long run
    this.#groups.set(key, group);
    return group;
  }

  /**
   * Bytes of a binding. A tensor at the start of its buffer gets all of it: batches of other lengths then use the same
   * bind groups, and no kernel asks for the length of an array.
   */
  #boundSize({ allocation, byteOffset, byteLength }: Tensor): number {
    const exact = Math.max(16, Math.ceil(byteLength / 16) * 16);
    if (byteOffset > 0 || allocation.byteLength > this.limits.maxBinding) return exact;
    return Math.max(exact, allocation.byteLength);
  }

  #checkBinding(kernel: Kernel, name: string, t: Tensor): void {
    if (t.byteLength > this.limits.maxBinding) {
      throw new RangeError(
        `${kernel.path}: ${name} is ${t} with ${t.byteLength} bytes, but this adapter binds at ` +
          `most ${this.limits.maxBinding}: use a smaller batch or shorter rows`,
      );
    }
    if (t.byteOffset % this.limits.storageAlignment !== 0) {
      throw new RangeError(
        `${kernel.path}: ${name} is ${t} at byte ${t.byteOffset}, which is not a multiple of ` +
          `${this.limits.storageAlignment}`,
      );
    }
  }
}

function checkAliases(kernel: Kernel, tensors: Readonly<Record<string, Tensor>>): void {
  for (const a of kernel.bindings.filter((binding) => binding.writable)) {
    for (const b of kernel.bindings) {
      const [x, y] = [tensors[a.name], tensors[b.name]];
      if (a === b || x.allocation !== y.allocation) continue;
      const isApart = x.byteOffset + x.byteLength <= y.byteOffset ||
        y.byteOffset + y.byteLength <= x.byteOffset;
      if (b.writable && isApart) continue;
      throw new TypeError(
        `${kernel.path}: '${a.name}' is written and shares a buffer with '${b.name}' ${y}; ` +
          "copy one of them first",
      );
    }
  }
}
