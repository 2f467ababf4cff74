/**
 * The linear layer: y = x W^T (+ bias) (+ scale (x A^T) B^T), the last term a LoRA adapter (Hu et al. 2021).
 *
 * The adapter's low-rank product is appended to the base product's sum, forward and backward, so that y and d_x are
 * written once (LoRAFusion, arXiv 2510.00206). z = scale x A^T is kept: d_B += d_y^T z, and with
 * d_z = scale d_y B: d_A += d_z^T x, d_x += d_y W + d_z A.
 *
 * With dropout the adapter's input is dropout(x), as PEFT has it: z and d_A are of that, and d_z A goes back through it.
 * It is computed again in backward rather than kept.
 */
import type { Graph } from "../autograd/tape.ts";
import { isHalf, type Tensor } from "../gpu/tensor.ts";
import { type Dropout, dropout } from "./dropout.ts";
import { type Appended, columnSum, matmulNN, matmulNT, matmulTN } from "./linear_forms.ts";

export { columnSum, matmulNN, matmulNT, matmulTN } from "./linear_forms.ts";
export type { Appended, ProductOptions } from "./linear_forms.ts";
export { chooseLinear, type LinearKernels, setLinearKernels } from "./linear_kernels.ts";
export { tuneLinear } from "./linear_tune.ts";

/** A low-rank adapter of a weight [N, K]. */
export interface Lora {
  /** [R, K], f32 */
  readonly a: Tensor;
  /** [N, R], f32 */
  readonly b: Tensor;
  /** alpha / R, or alpha / sqrt(R). */
  readonly scale: number;
  /** What is dropped of its input. @default {nothing} */
  readonly dropout?: Dropout;
}

/** What a linear layer may have besides its weight. */
export interface LinearOptions {
  /** [N], f32 */
  readonly bias?: Tensor;
  readonly lora?: Lora;
  /** [K, N]: a copy of a frozen weight's transpose, which makes the input gradient faster. */
  readonly transposed?: Tensor;
}

/**
 * y = x W^T (+ bias) (+ scale (x A^T) B^T), with gradients for x, an f32 weight, bias, A and B.
 * @param x [M, K], f32
 * @param weight [N, K], f32, or bf16 or f16 for a frozen weight
 * @returns y [M, N]
 * @throws {TypeError} when a shape or an element type does not fit.
 */
export function linear(
  g: Graph,
  x: Tensor,
  weight: Tensor,
  options: LinearOptions = {},
): Tensor {
  checkShapes(x, weight, options);
  const { bias, lora, transposed } = options;
  const y = g.empty([x.shape[0], weight.shape[0]]);
  const z = lora && lowRank(g, x, lora);
  matmulNT(g, x, weight, y, { bias, appended: lora && z && { z, c: lora.b, byRank: false } });
  return g.record(y, [x, weight, bias, lora?.a, lora?.b], (d_y) => {
    const d_z = lora && adapterGradients(g, d_y, x, lora, z);
    if (g.needsGrad(x)) {
      const appended = lora && d_z && !lora.dropout
        ? { z: d_z, c: lora.a, byRank: true }
        : undefined;
      inputGradient(g, d_y, weight, transposed, g.grad(x), appended);
      if (lora?.dropout && d_z) throughDropout(g, d_z, lora.a, g.grad(x), lora.dropout);
    }
    if (d_z) g.scope.release(d_z);
    if (g.needsGrad(weight)) matmulTN(g, d_y, x, g.grad(weight));
    if (bias && g.needsGrad(bias)) columnSum(g, d_y, g.grad(bias));
  });
}

/** z = scale x A^T, [M, R], of the x that dropout leaves. */
function lowRank(g: Graph, x: Tensor, lora: Lora): Tensor {
  const z = g.empty([x.shape[0], lora.a.shape[0]]);
  onAdapterInput(g, x, lora, (input) => matmulNT(g, input, lora.a, z, { scale: lora.scale }));
  return z;
}

/** Works on what an adapter reads: x, or for so long what dropout leaves of it. */
function onAdapterInput(g: Graph, x: Tensor, lora: Lora, work: (input: Tensor) => void): void {
  if (!lora.dropout) return work(x);
  const input = g.empty(x.shape);
  dropout(g, x, input, lora.dropout);
  work(input);
  g.scope.release(input);
}

/** d_x += what dropout leaves of d_z A. */
function throughDropout(g: Graph, d_z: Tensor, a: Tensor, d_x: Tensor, dropped: Dropout): void {
  const d_input = g.empty(d_x.shape);
  matmulNN(g, d_z, a, d_input, { accumulate: false });
  dropout(g, d_input, d_x, dropped, true);
  g.scope.release(d_input);
}

/** Adds to d_A and d_B; returns d_z = scale d_y B where the input gradient or d_A needs it. */
function adapterGradients(
  g: Graph,
  d_y: Tensor,
  x: Tensor,
  lora: Lora,
  z: Tensor | undefined,
): Tensor | undefined {
  const { a, b, scale } = lora;
  if (z && g.needsGrad(b)) matmulTN(g, d_y, z, g.grad(b));
  if (!g.needsGrad(a) && !g.needsGrad(x)) return undefined;
  const d_z = g.empty([x.shape[0], a.shape[0]]);
  matmulNN(g, d_y, b, d_z, { accumulate: false, scale });
  if (g.needsGrad(a)) onAdapterInput(g, x, lora, (input) => matmulTN(g, d_z, input, g.grad(a)));
  return d_z;
}

function inputGradient(
  g: Graph,
  d_y: Tensor,
  weight: Tensor,
  transposed: Tensor | undefined,
  d_x: Tensor,
  appended: Appended | undefined,
): void {
  if (transposed) matmulNT(g, d_y, transposed, d_x, { accumulate: true, appended });
  else matmulNN(g, d_y, weight, d_x, { appended });
}

function checkShapes(x: Tensor, weight: Tensor, { bias, lora, transposed }: LinearOptions): void {
  const [out, inner] = weight.shape;
  check(
    x.shape.length === 2 && weight.shape.length === 2 && x.shape[1] === inner,
    `linear: x is ${x} but weight is ${weight}; expected weight [out, ${x.shape[1]}]`,
  );
  check(x.dtype === "f32", `linear: x is ${x}; expected f32`);
  check(isFloat(weight), `linear: weight is ${weight}; expected f32, bf16 or f16`);
  check(
    weight.dtype === "f32" || !weight.gradient,
    `linear: weight is ${weight} with a gradient; 16-bit weights are frozen, widen it to f32 to train`,
  );
  if (bias) {
    check(
      bias.shape.length === 1 && bias.shape[0] === out && bias.dtype === "f32",
      `linear: weight is ${weight} but bias is ${bias}; expected bias [${out}] f32`,
    );
  }
  if (lora) checkLora(weight, lora);
  if (transposed) {
    const [rows, columns] = transposed.shape;
    check(
      transposed.shape.length === 2 && rows === inner && columns === out && isFloat(transposed),
      `linear: weight is ${weight} but transposed is ${transposed}; expected [${inner}, ${out}]`,
    );
    check(
      !weight.gradient,
      `linear: weight is ${weight} and trained; a transposed copy is for frozen weights only`,
    );
  }
}

function checkLora(weight: Tensor, { a, b }: Lora): void {
  const [out, inner] = weight.shape;
  const rank = a.shape[0];
  check(
    a.shape.length === 2 && a.shape[1] === inner && a.dtype === "f32",
    `linear: weight is ${weight} but lora.a is ${a}; expected lora.a [rank, ${inner}] f32`,
  );
  check(
    b.shape.length === 2 && b.shape[0] === out && b.shape[1] === rank && b.dtype === "f32",
    `linear: weight is ${weight} and lora.a ${a}, but lora.b is ${b}; expected [${out}, ${rank}] f32`,
  );
}

function isFloat(t: Tensor): boolean {
  return t.dtype === "f32" || isHalf(t.dtype);
}

function check(condition: boolean, message: string): void {
  if (!condition) throw new TypeError(message);
}
