/**
 * Where the time goes: one timestamp pair per dispatch while a profile runs, summed by kernel.
 *
 * Profiling ends the compute pass after every dispatch, so a profiled step is a little slower than a plain one.
 */

/** Time of one kernel over a profile. */
export interface KernelTime {
  readonly path: string;
  readonly calls: number;
  readonly ms: number;
}

const QUERIES = 4096; // WebGPU's limit of one query set

/** Collects kernel times of the submits between `start` and `stop`. */
export class Profile {
  running = false;
  #querySet: GPUQuerySet | undefined;
  #resolved: GPUBuffer | undefined;
  #paths: string[] = [];
  #pending: Promise<void>[] = [];
  #readable: { buffer: GPUBuffer; paths: string[] } | undefined;
  #totals = new Map<string, { calls: number; ms: number }>();

  constructor(private readonly device: GPUDevice) {}

  /**
   * Starts a profile.
   * @throws {Error} when the adapter has no timestamps.
   */
  start(): void {
    if (!this.device.features.has("timestamp-query")) {
      throw new Error("this adapter has no timestamp-query: kernels cannot be timed one by one");
    }
    this.#querySet ??= this.device.createQuerySet({ type: "timestamp", count: QUERIES });
    this.#resolved ??= this.device.createBuffer({
      size: QUERIES * 8,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    this.#totals.clear();
    this.running = true;
  }

  /** Ends the profile: times by kernel, longest first. Submit before. */
  async stop(): Promise<KernelTime[]> {
    this.running = false;
    await Promise.all(this.#pending);
    this.#pending = [];
    return [...this.#totals].map(([path, t]) => ({ path, ...t })).sort((a, b) => b.ms - a.ms);
  }

  /** Whether the open encoder can hold no more timestamps: submit. */
  get full(): boolean {
    return this.#paths.length >= QUERIES / 2;
  }

  /** The next pair of timestamps, for the pass of one dispatch; undefined when nothing is measured. */
  timestamps(path: string): GPUComputePassTimestampWrites | undefined {
    if (!this.running || !this.#querySet || this.full) return undefined;
    const i = 2 * this.#paths.length;
    this.#paths.push(path);
    return {
      querySet: this.#querySet,
      beginningOfPassWriteIndex: i,
      endOfPassWriteIndex: i + 1,
    };
  }

  /** Records the resolve of this encoder's timestamps. */
  resolve(encoder: GPUCommandEncoder): void {
    if (this.#paths.length === 0 || !this.#querySet || !this.#resolved) return;
    const size = this.#paths.length * 16;
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const buffer = this.device.createBuffer({ size, usage });
    encoder.resolveQuerySet(this.#querySet, 0, 2 * this.#paths.length, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, buffer, 0, size);
    this.#readable = { buffer, paths: this.#paths };
    this.#paths = [];
  }

  /** The encoder was submitted: its timestamps can be mapped. */
  submitted(): void {
    if (!this.#readable) return;
    // A map fails only with the device, and run, submit and read say that.
    this.#pending.push(this.#collect(this.#readable.buffer, this.#readable.paths).catch(() => {}));
    this.#readable = undefined;
  }

  async #collect(buffer: GPUBuffer, paths: string[]): Promise<void> {
    await buffer.mapAsync(GPUMapMode.READ);
    const ns = new BigUint64Array(buffer.getMappedRange());
    paths.forEach((path, i) => {
      const total = this.#totals.get(path) ?? { calls: 0, ms: 0 };
      total.calls++;
      total.ms += Number(ns[2 * i + 1] - ns[2 * i]) / 1e6;
      this.#totals.set(path, total);
    });
    buffer.destroy();
  }
}
