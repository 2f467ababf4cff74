/**
 * A golden case: recorded tensors, the rule that a result passes by, and the books on what has been compared, so
 * that a number that nobody looked at fails the case.
 */
import assert from "node:assert/strict";
import { loadSafetensors } from "../io/safetensors.ts";

/** `a` passes against `b` if max|a-b| <= abs * max(1, max|b|) and |a-b|_2 <= rel * |b|_2. */
export interface Tolerance {
  readonly abs: number;
  readonly rel: number;
}

/** One folder with case.json and tensors.safetensors. */
export class GoldenCase {
  /** Numbers compared so far. */
  compared = 0;
  #unused: Set<string>;

  private constructor(
    readonly folder: string,
    // deno-lint-ignore no-explicit-any -- a case describes itself; its keys are checked where they are used
    readonly json: Record<string, any>,
    private readonly tensors: Awaited<ReturnType<typeof loadSafetensors>>,
  ) {
    this.#unused = new Set(tensors.keys());
  }

  static async open(folder: string): Promise<GoldenCase> {
    const json = JSON.parse(await Deno.readTextFile(`${folder}/case.json`));
    return new GoldenCase(folder, json, await loadSafetensors(`${folder}/tensors.safetensors`));
  }

  /** A case of a method set: NAME.json and, unless it is a table, NAME.safetensors. */
  static async openNamed(path: string): Promise<GoldenCase> {
    const json = JSON.parse(await Deno.readTextFile(`${path}.json`));
    const file = `${path}.safetensors`;
    const hasTensors = await Deno.stat(file).then(() => true, () => false);
    const tensors = hasTensors ? await loadSafetensors(file) : new Map();
    const missing = Object.keys(json.tensors ?? {}).filter((name) => !tensors.has(name));
    assert.deepEqual(missing, [], `${path}.json describes tensors that are not there`);
    return new GoldenCase(path, json, tensors);
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /** Names with a prefix. */
  names(prefix: string): string[] {
    return [...this.tensors.keys()].filter((name) => name.startsWith(prefix));
  }

  shape(name: string): readonly number[] {
    return this.#tensor(name).shape;
  }

  /** Recorded float numbers; reading counts as used. */
  floats(name: string): Float32Array {
    const { data } = this.#tensor(name);
    assert.ok(data instanceof Float32Array, `${name} is not float`);
    this.#unused.delete(name);
    return data;
  }

  /** Recorded numbers of either type: some masks are float. */
  numbers(name: string): Float32Array | Int32Array {
    const isFloat = this.#tensor(name).data instanceof Float32Array;
    return isFloat ? this.floats(name) : this.ints(name);
  }

  /** Recorded whole numbers; reading counts as used. */
  ints(name: string): Int32Array {
    const { data } = this.#tensor(name);
    assert.ok(data instanceof Int32Array, `${name} is not an integer tensor`);
    this.#unused.delete(name);
    return data;
  }

  /**
   * Compares numbers with the recorded ones.
   * @param where only indices of these rows of the last dimension: 1 where compared
   */
  close(
    actual: ArrayLike<number>,
    name: string,
    tolerance: Tolerance,
    where?: ArrayLike<number>,
  ): void {
    const expected = this.floats(name);
    const width = where ? expected.length / where.length : 1;
    assert.equal(actual.length, expected.length, `${name}: number of elements`);
    let [worst, scale, difference, norm] = [0, 1, 0, 0];
    for (let i = 0; i < expected.length; i++) {
      if (where && !where[Math.floor(i / width)]) continue;
      this.compared++;
      const d = Math.abs(actual[i] - expected[i]);
      worst = Number.isNaN(d) ? Infinity : Math.max(worst, d);
      scale = Math.max(scale, Math.abs(expected[i]));
      difference += d * d;
      norm += expected[i] * expected[i];
    }
    const limit = tolerance.abs * scale;
    assert.ok(worst <= limit, `${name}: off by ${worst}, allowed ${limit}`);
    const rel = Math.sqrt(difference);
    const allowed = tolerance.rel * Math.sqrt(norm);
    assert.ok(rel <= allowed, `${name}: distance ${rel}, allowed ${allowed}`);
  }

  /**
   * Compares whole numbers exactly.
   * @param expected what was made of recorded numbers, when `name` is not a tensor's
   */
  same(
    actual: ArrayLike<number>,
    name: string,
    expected: ArrayLike<number> = this.ints(name),
  ): void {
    assert.deepEqual(Array.from(actual), Array.from(expected), name);
    this.compared += expected.length;
  }

  /** Fails if a recorded tensor was never used. */
  finish(): void {
    const left = [...this.#unused];
    assert.equal(left.length, 0, `${this.folder}: not compared: ${left.slice(0, 8).join(", ")}`);
  }

  /** Tensors that only describe the case. */
  ignore(...names: string[]): void {
    for (const name of names) this.#unused.delete(name);
  }

  #tensor(name: string) {
    const tensor = this.tensors.get(name);
    assert.ok(tensor, `${this.folder}: no tensor '${name}'`);
    return tensor;
  }
}
