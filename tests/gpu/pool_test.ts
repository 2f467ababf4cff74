/** Device memory: size classes, reuse, peak, scopes; on counted fakes where no device is needed. */
import assert from "node:assert/strict";
import { type BufferSource, Pool, Scope, type ScopeDevice, sizeClass } from "../../gpu/pool.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { gpuTest } from "../check_op.ts";

type Buffer = ReturnType<BufferSource["create"]>;

/** A source that counts what it makes and what is destroyed. */
class CountedSource {
  readonly maxBufferSize = 1 << 20;
  encoderNumber = 0;
  made = 0;
  destroyed = 0;
  failing = false;

  create(): Buffer {
    if (this.failing) throw new Error("no memory");
    this.made++;
    return { destroy: () => this.destroyed++ } as unknown as Buffer;
  }
}

function device(source: CountedSource): ScopeDevice {
  return {
    pool: new Pool(source),
    get encoderNumber() {
      return source.encoderNumber;
    },
    clear: () => {},
    write: () => {},
  };
}

Deno.test("pool: size classes are at most an eighth too large and whole words", () => {
  const classes = (...sizes: number[]) => sizes.map((size) => sizeClass(size));
  assert.deepEqual(classes(0, 1, 256, 257, 288, 289), [256, 256, 256, 288, 288, 320]);
  assert.deepEqual(classes(512, 513, 1024, 1025), [512, 576, 1024, 1152]);
  let checked = 0;
  for (let n = 257; n < 2 ** 33; n = Math.ceil(n * 1.013)) {
    const size = sizeClass(n);
    assert.ok(size >= n && size <= n * 1.125 + 1, `${n} -> ${size}`);
    assert.equal(size % 32, 0);
    assert.equal(sizeClass(size), size, `a class is its own class: ${size}`);
    checked++;
  }
  assert.ok(checked > 1000);
});

Deno.test("pool: a buffer that was given back serves the next taker of its class, last first", () => {
  const source = new CountedSource();
  const pool = new Pool(source);
  const [a, b, c] = [pool.take(1000, "a"), pool.take(1000, "b"), pool.take(2000, "c")];
  assert.equal(source.made, 3);
  for (const x of [a, b, c]) pool.give(x);
  assert.equal(pool.take(1024, "d"), b);
  assert.equal(pool.take(999, "e"), a);
  assert.equal(pool.take(999, "f").id, 3, "none is free");
  assert.equal(a.lease, 1, "tensors of the first lease are dead");
});

Deno.test("pool: counts what is in use and its peak", () => {
  const pool = new Pool(new CountedSource());
  const a = pool.take(1000, "a");
  const b = pool.take(500, "b");
  assert.deepEqual(pool.memory, { allocated: 1536, inUse: 1536, peak: 1536 });
  pool.give(a);
  assert.deepEqual(pool.memory, { allocated: 1536, inUse: 512, peak: 1536 });
  pool.resetPeak();
  assert.equal(pool.memory.peak, 512);
  const c = pool.take(900, "c");
  assert.deepEqual(pool.memory, { allocated: 1536 + 960, inUse: 1472, peak: 1472 });
  pool.give(b);
  pool.give(c);
  assert.equal(pool.memory.inUse, 0);
  pool.trim();
  assert.deepEqual(pool.memory, { allocated: 0, inUse: 0, peak: 1472 });
});

Deno.test("pool: does not count a buffer that was not made", () => {
  const source = new CountedSource();
  const pool = new Pool(source);
  source.failing = true;
  assert.throws(() => pool.take(1000, "a"), /no memory/);
  assert.deepEqual(pool.memory, { allocated: 0, inUse: 0, peak: 0 });
  assert.throws(() => pool.take(2 ** 20 + 1, "tensor w[9]"), {
    name: "RangeError",
    message:
      "tensor w[9] needs 1048577 bytes but this adapter's largest buffer is 1048576 bytes: " +
      "use a smaller batch, shorter rows or a smaller model",
  });
});

Deno.test("pool: what fits the largest buffer is given, though its class would not", () => {
  const table = 128256 * 4096 * 4; // an 8B model's embeddings in f32
  const limit = 2 ** 31 - 1; // what llvmpipe says
  assert.equal(sizeClass(table), 2 ** 31);
  assert.equal(sizeClass(table, limit), 2 ** 31 - 16, "all that can be bound");
  assert.deepEqual([1000, 2 ** 30].map((size) => sizeClass(size, limit)), [1024, 2 ** 30]);
  const made: number[] = [];
  const create = (byteLength: number) => {
    made.push(byteLength);
    return { destroy: () => {} } as unknown as Buffer;
  };
  const pool = new Pool({ create, maxBufferSize: limit, encoderNumber: 0 });
  const a = pool.take(table, "embeddings");
  pool.give(a);
  assert.equal(pool.take(2 ** 31 - 16, "the largest"), a, "one class for all that are so large");
  assert.deepEqual(made, [2 ** 31 - 16]);
  assert.throws(() => pool.take(2 ** 31, "too large"), /^RangeError: too large needs 2147483648 /);
});

Deno.test("pool: leaves out buffers that the open encoder touched when asked to", () => {
  const pool = new Pool(new CountedSource());
  const [a, b] = [pool.take(100, "a"), pool.take(100, "b")];
  b.lastEncoder = 7;
  pool.give(a);
  pool.give(b);
  assert.equal(pool.take(100, "c", 7), a, "b is on top, but encoder 7 uses it");
  assert.notEqual(pool.take(100, "d", 7), b);
  assert.equal(pool.take(100, "e", 8), b);
});

Deno.test("pool: buffers of sizes that went unused make room for others", () => {
  const source = new CountedSource();
  const pool = new Pool({ ...source, maxBufferSize: 1 << 30, create: () => source.create() });
  const take = (bytes: number) => {
    const allocation = pool.take(bytes, "tensor");
    allocation.lastEncoder = source.made; // one encoder each
    pool.give(allocation);
  };
  const sizes = [160, 176, 192, 208, 224].map((megabytes) => megabytes << 20);
  sizes.forEach(take);
  // A quarter more than the largest and 256 MiB are allowed: the two used last stay.
  assert.deepEqual([source.made, source.destroyed], [5, 3]);
  assert.ok(pool.memory.allocated <= 1.25 * pool.memory.peak + (256 << 20));
  take(sizes[4]);
  assert.equal(source.made, 5);
  take(sizes[0]);
  assert.equal(source.made, 6);
});

Deno.test("pool: trim keeps what the open encoder uses", () => {
  const source = new CountedSource();
  const pool = new Pool(source);
  const [a, b] = [pool.take(100, "a"), pool.take(100, "b")];
  source.encoderNumber = 3;
  b.lastEncoder = 3;
  pool.give(a);
  pool.give(b);
  pool.trim();
  assert.deepEqual([source.destroyed, pool.memory.allocated], [1, 256]);
  source.encoderNumber = 4;
  pool.trim();
  assert.deepEqual([source.destroyed, pool.memory.allocated], [2, 0]);
});

Deno.test("scope: gives everything back once, and refuses to make more", () => {
  const gpu = device(new CountedSource());
  const scope = new Scope(gpu);
  const x = scope.zeros([10, 10]);
  const y = scope.empty([0, 3], "u32");
  scope.upload(new Uint16Array(7), [7]);
  assert.ok(scope.owns(x) && scope.owns(y));
  scope.release(x);
  scope.release(x);
  assert.equal(gpu.pool.memory.inUse, 512);
  scope[Symbol.dispose]();
  scope[Symbol.dispose]();
  assert.equal(gpu.pool.memory.inUse, 0);
  const late = { name: "TypeError", message: "h[2, 3]: its scope has ended" };
  assert.throws(() => scope.empty([2, 3], "f32", "h"), late);
  assert.throws(() => scope.zeros([2, 3], "f32", "h"), late);
  assert.throws(() => scope.upload(new Float32Array(6), [2, 3], "h"), late);
});

Deno.test("scope: types of uploads follow the array; the sizes must agree", () => {
  const scope = new Scope(device(new CountedSource()));
  const type = (data: Parameters<Scope["upload"]>[0]) => scope.upload(data).dtype;
  assert.equal(type(new Float32Array(1)), "f32");
  assert.equal(type(new Uint32Array(1)), "u32");
  assert.equal(type(new Int32Array(1)), "i32");
  assert.equal(type(new Uint16Array(1)), "bf16");
  assert.equal(type(new Float16Array(1)), "f16");
  assert.throws(() => scope.upload(new Float32Array(5), [2, 3], "x"), {
    name: "TypeError",
    message: "upload: 5 numbers do not fill x[2, 3]",
  });
});

Deno.test("scope: a moved tensor lives as long as the scope it was moved to", () => {
  const gpu = device(new CountedSource());
  const outer = new Scope(gpu);
  let kept: Tensor;
  {
    using inner = new Scope(gpu);
    inner.empty([100]);
    kept = inner.empty([100]);
    inner.move(kept, outer);
    assert.ok(outer.owns(kept) && !inner.owns(kept));
  }
  kept.assertAlive("test");
  assert.equal(gpu.pool.memory.inUse, sizeClass(400));
  outer[Symbol.dispose]();
  assert.equal(gpu.pool.memory.inUse, 0);
});

gpuTest("scope: the device pools buffers between scopes", (gpu) => {
  const before = gpu.pool.memory;
  const ids = [1, 2].map(() => {
    using scope = gpu.scope();
    return scope.zeros([12_345]).allocation.id;
  });
  assert.equal(ids[0], ids[1]);
  assert.equal(gpu.pool.memory.inUse, before.inUse);
});
