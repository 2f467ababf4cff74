import assert from "node:assert/strict";
import { KvCache } from "../../llm/kv_cache.ts";
import { packRows, positionsOf } from "../../llm/tokens.ts";
import { gpuTest } from "../check_op.ts";

Deno.test("positionsOf() counts visible tokens, and a hole repeats the position before it", () => {
  const row = { length: 6, visible: [0, 0, 1, 0, 1, 1] };
  assert.deepEqual([...positionsOf(row, 0) as Uint32Array], [0, 0, 0, 0, 1, 2]);
  assert.deepEqual([...positionsOf({ length: 2 }, 5) as Uint32Array], [5, 6]);
});

gpuTest("packRows() lays rows end to end; empty rows and no rows are fine", (gpu) => {
  using scope = gpu.scope();
  const tokens = packRows(scope, [{ length: 2 }, { length: 0 }, { length: 3 }]);
  assert.deepEqual([...tokens.offsets], [0, 2, 2, 5]);
  assert.deepEqual([...tokens.positions], [0, 1, 0, 1, 2]);
  assert.equal(packRows(scope, []).numTokens, 0);
});

gpuTest("KvCache.extend() continues positions and refuses more than a row's slots", (gpu) => {
  using scope = gpu.scope();
  const cache = new KvCache(scope, { numLayers: 1, kvWidth: 4 }, [3, 5]);
  assert.equal(cache.numSlots, 8);
  const first = cache.extend(scope, [
    { row: 0, length: 2 },
    { row: 1, length: 3, visible: [0, 1, 1] },
  ]);
  assert.deepEqual([...first.positions], [0, 1, 0, 0, 1]);
  const second = cache.extend(scope, [{ row: 1, length: 1 }]);
  assert.deepEqual([...second.positions], [2]);
  assert.deepEqual([cache.lengthOf(0), cache.lengthOf(1), cache.slotOf(1)], [2, 4, 3]);
  assert.throws(
    () => cache.extend(scope, [{ row: 0, length: 2 }]),
    /^RangeError: key\/value cache: row 0 has 3 slots, 2 used; 2 more do not fit$/,
  );
});
