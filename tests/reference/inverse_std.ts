/** 1 / std of each group of rows, once for every row; the divisor is count - 1. */
export function inverseStd(x: ArrayLike<number>, rows: number, groupRows: number): Float64Array {
  const count = x.length / rows * groupRows;
  return Float64Array.from({ length: rows }, (_, row) => {
    const begin = Math.floor(row / groupRows) * count;
    const group = Array.from({ length: count }, (_, i) => x[begin + i]);
    const mean = group.reduce((a, b) => a + b) / count;
    const squares = group.reduce((sum, v) => sum + (v - mean) ** 2, 0);
    return 1 / Math.sqrt(squares / (count - 1));
  });
}
