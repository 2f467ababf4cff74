/**
 * One check for every operation: its value against a plain float64 loop, its gradients against central differences of
 * that loop, on the adapter that is there.
 */
import assert from "node:assert/strict";
import { Graph } from "../autograd/tape.ts";
import { Gpu } from "../gpu/device.ts";
import { sizeOf, type Tensor } from "../gpu/tensor.ts";
import { normals, uniforms } from "./random.ts";

let opened: Promise<Gpu> | undefined;

/** The adapter that the tests run on, opened once per test file. */
export function testGpu(): Promise<Gpu> {
  return opened ??= Gpu.open();
}

/** A test that uses the device; the device outlives it, hence no resource sanitiser. */
export function gpuTest(name: string, fn: (gpu: Gpu) => Promise<void> | void): void {
  Deno.test({
    name,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => await fn(await testGpu()),
  });
}

/** An input of an operation under test. */
export interface Input {
  readonly shape: readonly number[];
  /** Values; random normal numbers by default. */
  readonly data?: Float32Array;
  /** Whether the operation has a gradient for it. @default {true} */
  readonly grad?: boolean;
  /** A parameter (persistent gradient) rather than a watched input. @default {false} */
  readonly parameter?: boolean;
}

/** What to check. `T` names the inputs. */
export interface OpCheck<T extends string> {
  readonly inputs: Record<T, Input>;
  /** The operation on the device; one output or several. */
  readonly op: (g: Graph, x: Record<T, Tensor>) => Tensor | readonly Tensor[];
  /** The same in float64 loops. */
  readonly reference: (x: Record<T, Float64Array>) => Float64Array | readonly Float64Array[];
  /** Allowed |a - b| over max(1, max |b|). @default {2e-5} */
  readonly tolerance?: number;
  /** The same for gradients. @default {1e-4} */
  readonly gradientTolerance?: number;
  /** Step of the central differences. @default {1e-5} */
  readonly step?: number;
  /** At most this many elements of an input are differentiated, chosen at random. @default {160} */
  readonly samples?: number;
}

/** Largest |a - b| / max(1, max |b|). */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length, "number of elements");
  let scale = 1;
  let worst = 0;
  for (let i = 0; i < b.length; i++) scale = Math.max(scale, Math.abs(b[i]));
  for (let i = 0; i < b.length; i++) {
    const d = Math.abs(a[i] - b[i]);
    worst = Number.isNaN(d) ? Infinity : Math.max(worst, d);
  }
  return worst / scale;
}

/** Asserts that `a` is within `tolerance` of `b`; see {@link distance}. */
export function assertClose(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  tolerance: number,
  what: string,
): void {
  const d = distance(a, b);
  assert.ok(d <= tolerance, `${what}: off by ${d}, allowed ${tolerance}`);
}

/** Checks an operation's value and every gradient. */
export async function checkOp<T extends string>(gpu: Gpu, check: OpCheck<T>): Promise<void> {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const names = Object.keys(check.inputs) as T[];
  const tensors = {} as Record<T, Tensor>;
  const values = {} as Record<T, Float64Array>;
  names.forEach((name, i) => {
    const { shape, data, grad = true, parameter } = check.inputs[name];
    const numbers = data ?? normals(101 + 7 * i, sizeOf(shape));
    values[name] = Float64Array.from(numbers);
    tensors[name] = scope.upload(numbers, shape, name);
    if (grad && parameter) tensors[name].gradient = scope.zeros(shape);
    else if (grad) g.watch(tensors[name]);
  });

  const outputs = [check.op(g, tensors)].flat() as Tensor[];
  const expected = [check.reference(values)].flat() as Float64Array[];
  assert.equal(outputs.length, expected.length, "number of outputs");
  for (let i = 0; i < outputs.length; i++) {
    const got = await gpu.read(outputs[i]);
    assertClose(got, expected[i], check.tolerance ?? 2e-5, `value of output ${i}`);
  }

  const trained = names.filter((name) => check.inputs[name].grad ?? true);
  if (trained.length === 0) return;
  const upstream = expected.map((e, i) => normals(977 + i, e.length));
  g.backward(
    ...outputs.map((out, i) => [out, scope.upload(upstream[i], out.shape)] as const)
      .filter(([out]) => out.size > 0 && g.needsGrad(out)),
  );
  const loss = () =>
    ([check.reference(values)].flat() as Float64Array[]).reduce(
      (sum, out, i) => out.reduce((s, y, j) => s + y * upstream[i][j], sum),
      0,
    );
  for (const name of trained) {
    const gradient = g.gradIfAny(tensors[name]);
    const got = gradient ? await gpu.read(gradient) : new Float32Array(tensors[name].size);
    const x = values[name];
    const at = pick(x.length, check.samples ?? 160);
    const differences = at.map((i) => {
      const before = x[i];
      const h = (check.step ?? 1e-5) * Math.max(1, Math.abs(before));
      x[i] = before + h;
      const above = loss();
      x[i] = before - h;
      const below = loss();
      x[i] = before;
      return (above - below) / (2 * h);
    });
    const tolerance = check.gradientTolerance ?? 1e-4;
    assertClose(at.map((i) => got[i]), differences, tolerance, `gradient of ${name}`);
  }
}

function pick(length: number, count: number): number[] {
  const all = Array.from({ length }, (_, i) => i);
  if (length <= count) return all;
  const next = uniforms(length);
  return Array.from({ length: count }, () => all[Math.floor(next() * length)]);
}
