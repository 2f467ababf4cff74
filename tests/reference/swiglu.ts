/** The gated unit as a plain float64 loop. */

/** silu(gate) * up, element by element. */
export function swiglu(gate: Float64Array, up: Float64Array): Float64Array {
  return gate.map((x, i) => x / (1 + Math.exp(-x)) * up[i]);
}
