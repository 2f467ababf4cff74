/** The doctor: each problem is named with its remedy, and a sound machine has none. */
import assert from "node:assert/strict";
import { type AdapterFacts, type Facts, problemsOf } from "../../io/doctor.ts";
import { doctorReport } from "../../io/doctor_report.ts";
import { nearest } from "../../io/nearest.ts";

const timing = { medianMs: 2, rounds: 5, repeats: 1, ms: 1 };
const adapter: AdapterFacts = {
  info: {
    vendor: "65541",
    architecture: "",
    device: "0",
    description: "llvmpipe (LLVM 15.0.6, 256 bits)",
    subgroupSize: 8,
    features: ["timestamp-query", "subgroups"],
  },
  limits: {
    maxBufferSize: 2 ** 31,
    maxBinding: 2 ** 27,
    storageAlignment: 256,
    uniformAlignment: 256,
    maxWorkgroups: 65535,
  },
  isSoftware: true,
  kernels: "subgroup: nt 32x8",
  kernelOrigin: "remembered",
  speeds: [
    { name: "multiply-add ceiling", gflops: 175, ...timing },
    { name: "load loop, 8 KiB", gigabytes: 17, ...timing },
    { name: "load loop, 64 MiB", gigabytes: 9.5, ...timing },
    { name: "nano gate", gflops: 58, ...timing },
  ],
};
const sound: Facts = {
  os: "linux",
  arch: "x86_64",
  numCores: 2,
  deno: "2.9.6",
  backend: "vulkan",
  driverFiles: undefined,
  gpuFiles: [],
  adapter,
  adapterError: undefined,
  cache: {
    path: "/home/a b/.cache/colar-webgpu",
    freeBytes: 2 ** 36,
    bytes: 1536,
    numFiles: 2,
    kernelFile: "/home/a b/.cache/colar-webgpu/kernels.json",
    hasKernelFile: true,
    isWritable: true,
  },
  logs: { path: "/p/logs", freeBytes: 2 ** 36 },
};
const withInfo = (info: Partial<AdapterFacts["info"]>, isSoftware = false): Partial<Facts> => ({
  adapter: { ...adapter, isSoftware, info: { ...adapter.info, ...info } },
});

Deno.test("doctor: a sound machine has no problem", () => {
  assert.deepEqual(problemsOf(sound), []);
});

const cases: [string, Partial<Facts>, RegExp, RegExp][] = [
  [
    "no adapter",
    { adapter: undefined, adapterError: "No WebGPU adapter found" },
    /^no device to compute on \(No WebGPU adapter found\)$/,
    /apt-get install -y mesa-vulkan-drivers libvulkan1/,
  ],
  ["no backend", { backend: undefined }, /^DENO_WEBGPU_BACKEND is not set$/, /\.\/denow/],
  ["another backend", { backend: "gl" }, /^DENO_WEBGPU_BACKEND is 'gl'$/, /=vulkan/],
  [
    "an NVIDIA card but software",
    { gpuFiles: ["/dev/nvidiactl"] },
    /^\/dev\/nvidiactl is there, but the adapter is software$/,
    /NVIDIA's Vulkan driver/,
  ],
  [
    "an AMD card but software",
    { gpuFiles: ["/dev/kfd", "/dev/dri/renderD128"] },
    /^\/dev\/kfd, \/dev\/dri\/renderD128 is there/,
    /group of the file/,
  ],
  [
    "no subgroups",
    withInfo({ features: ["timestamp-query"], subgroupSize: 0 }),
    /has no subgroups/,
    /update the driver/,
  ],
  [
    "subgroups of another size",
    withInfo({ subgroupSize: 4 }),
    /subgroups of 4 instead of 8/,
    /unset LP_NATIVE_VECTOR_WIDTH/,
  ],
  [
    "slow loads",
    {
      adapter: {
        ...adapter,
        speeds: adapter.speeds.map((s, i) => i === 1 ? { ...s, gigabytes: 1.2 } : s),
      },
    },
    /^loads are slow, 1\.2 GB\/s/,
    /use Mesa 25 or newer/,
  ],
  ["no timestamps", withInfo({ features: ["subgroups"] }, true), /no timestamps/, /benchmark/],
  ["no cache folder", { cache: undefined }, /no cache folder is known/, /COLAR_CACHE/],
  [
    "a cache that cannot be written",
    { cache: { ...sound.cache!, isWritable: false } },
    /colar-webgpu cannot be written$/,
    /set COLAR_CACHE/,
  ],
  [
    "little disk",
    { logs: { path: "/p/logs", freeBytes: 2 ** 30 } },
    /^only 1\.0 GiB are free for \/p\/logs$/,
    /free some/,
  ],
];
for (const [name, change, what, remedy] of cases) {
  Deno.test(`doctor: ${name}`, () => {
    const facts = { ...sound, ...change };
    const problems = problemsOf(facts);
    assert.equal(problems.length, 1, JSON.stringify(problems));
    assert.match(problems[0].what, what);
    assert.match(problems[0].remedy, remedy);
    const report = doctorReport(facts, problems);
    assert.ok(report.endsWith(`Problems\n- ${problems[0].what}\n  ${problems[0].remedy}`), report);
  });
}

Deno.test("doctor: nothing is said where it does not apply", () => {
  const real = withInfo({ description: "NVIDIA H100", subgroupSize: 32 });
  assert.deepEqual(problemsOf({ ...sound, ...real, gpuFiles: ["/dev/nvidiactl"] }), []);
  assert.deepEqual(problemsOf({ ...sound, os: "darwin", backend: undefined }), []);
  assert.deepEqual(problemsOf({ ...sound, logs: { path: "/p", freeBytes: undefined } }), []);
  const [missing] = problemsOf({ ...sound, os: "darwin", adapter: undefined, adapterError: "x" });
  assert.doesNotMatch(missing.remedy, /apt-get/);
});

Deno.test("doctor: the report", () => {
  assert.equal(
    doctorReport(sound, []),
    `System     linux x86_64, 2 cores, Deno 2.9.6
Backend    vulkan, driver of the system
Adapter    llvmpipe (LLVM 15.0.6, 256 bits) (vendor 65541), software Vulkan: the CPU computes
Features   timestamp-query, subgroups of 8
Limits     buffer 2.00 GiB, binding 128 MiB, offsets of 256 bytes, 65535 workgroups a dimension
Speed      multiply-add ceiling: 175.0 GFLOP/s; load loop, 8 KiB: 17.0 GB/s; load loop, 64 MiB: 9.5 GB/s
           nano gate: 58.0 GFLOP/s, 33 % of the ceiling
Kernels    subgroup: nt 32x8 (remembered)
Cache      /home/a b/.cache/colar-webgpu, 1.50 KiB in 2 files, kernels in /home/a b/.cache/colar-webgpu/kernels.json
Disk       64.0 GiB free for /home/a b/.cache/colar-webgpu; 64.0 GiB free for /p/logs
Problems   none`,
  );
});

Deno.test("nearest: the word that was probably meant, or none", () => {
  const known = ["lora_alpha", "lora_r", "doctor"];
  assert.equal(nearest("lora_alfa", known), "lora_alpha");
  assert.equal(nearest("Doctr", known), "doctor");
  assert.equal(nearest("docotr", known), "doctor");
  assert.equal(nearest("x", known), undefined);
  assert.equal(nearest("learning_rate", known), undefined);
  assert.equal(nearest("", []), undefined);
});
