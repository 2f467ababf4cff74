/** Taking back the last tokens of a cache's row. */
import assert from "node:assert/strict";
import { KvCache } from "../../llm/kv_cache.ts";
import { gpuTest } from "../check_op.ts";

gpuTest(
  "KvCache.truncate(): the next tokens get the slots and positions that were taken back",
  (gpu) => {
    using scope = gpu.scope();
    const cache = new KvCache(scope, { numLayers: 1, kvWidth: 4 }, [6, 6]);
    cache.extend(scope, [{ row: 0, length: 4, visible: [1, 1, 0, 1] }, { row: 1, length: 2 }]);
    cache.truncate(0, 2);
    assert.equal(cache.lengthOf(0), 2);
    const { positions } = cache.extend(scope, [{ row: 0, length: 4 }, { row: 1, length: 1 }]);
    assert.deepEqual([...positions], [2, 3, 4, 5, 2]);
    cache.truncate(1, 3); // as long as it is
    assert.equal(cache.lengthOf(1), 3);
  },
);

gpuTest("KvCache.truncate(): a row is never made longer", (gpu) => {
  using scope = gpu.scope();
  const cache = new KvCache(scope, { numLayers: 1, kvWidth: 4 }, [6]);
  cache.extend(scope, [{ row: 0, length: 3 }]);
  for (const length of [4, -1, 0.5]) {
    assert.throws(() => cache.truncate(0, length), {
      name: "RangeError",
      message: `key/value cache: row 0 has 3 tokens, it cannot be cut to ${length}`,
    });
  }
});
