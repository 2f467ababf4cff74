/** The measuring kernels do what they are counted for: every multiply-add and every load shows in the result. */
import assert from "node:assert/strict";
import { loads, multiplyAdds } from "../../ops/ceiling.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";

gpuTest("ceiling: multiply-adds are those of 12 chains, and all are counted", async (gpu) => {
  using scope = gpu.scope();
  for (const [lanes, rounds] of [[64, 0], [64, 1], [192, 3]]) {
    const out = scope.zeros([lanes]);
    const [x, y] = [0.99, 0.25];
    assert.equal(multiplyAdds(gpu, out, rounds, { x, y }), lanes * rounds * 12 * 8 * 2);
    let expected = 0;
    for (let c = 0; c < 12; c++) {
      let a = c / 16;
      for (let step = 0; step < 8 * rounds; step++) a = a * x + y;
      expected += a;
    }
    const numbers = await gpu.read(out);
    assertClose(numbers, new Float64Array(lanes).fill(expected), 2e-5, `${lanes}, ${rounds}`);
  }
});

gpuTest("ceiling: every vector is read, around the array's end too", async (gpu) => {
  using scope = gpu.scope();
  for (const [vectors, groups, rounds] of [[1, 1, 1], [256, 1, 1], [512, 3, 2], [4096, 2, 3]]) {
    const numbers = normals(7, 4 * vectors);
    const data = scope.upload(numbers);
    const out = scope.zeros([64 * groups]);
    assert.equal(loads(gpu, data, out, rounds), 16 * 512 * rounds * groups);
    const expected = new Float64Array(out.size);
    for (let i = 0; i < 512 * rounds * groups; i++) {
      const lane = 64 * Math.floor(i / (512 * rounds)) + i % 64;
      for (let j = 0; j < 4; j++) expected[lane] += numbers[4 * (i % vectors) + j];
    }
    assertClose(await gpu.read(out), expected, 2e-5, `${vectors} vectors`);
  }
});

gpuTest("ceiling: an array that loads cannot wrap around is refused", (gpu) => {
  using scope = gpu.scope();
  assert.throws(() => loads(gpu, scope.zeros([12]), scope.zeros([64]), 1), {
    name: "RangeError",
    message: "loads: data has 12 numbers, expected 4 times a power of two",
  });
});
