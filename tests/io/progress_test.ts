/** The progress line, with a clock and a writer of its own. */
import assert from "node:assert/strict";
import { duration, Progress, type ProgressOptions } from "../../io/progress.ts";

/** A display whose text and time are at hand. */
function display(options: Partial<ProgressOptions>) {
  const texts: string[] = [];
  const clock = { ms: 5_000 };
  const progress = new Progress({
    label: "train",
    total: 100,
    isTerminal: true,
    columns: () => 100,
    write: (text) => texts.push(text),
    now: () => clock.ms,
    ...options,
  });
  return { progress, clock, texts };
}

Deno.test("progress rewrites one line on a terminal", () => {
  const { progress, clock, texts } = display({});
  clock.ms += 1000;
  progress.update(10, { loss: 2.34567, tokens: 5000 });
  clock.ms += 1000;
  progress.update(25, { loss: 0.5, tokens: 7000 });
  progress[Symbol.dispose]();
  const last =
    "\rtrain 25/100  [=====               ]  25 %  loss 0.5000  6000 tokens/s  ETA 0:06\x1b[K";
  assert.deepEqual(texts, [
    "\rtrain 10/100  [==                  ]  10 %  loss 2.346  5000 tokens/s  ETA 0:09\x1b[K",
    last,
    last,
    "\n",
  ]);
});

Deno.test("progress draws at most ten times a second, and always the end", () => {
  const { progress, clock, texts } = display({});
  for (let step = 1; step <= 100; step++) {
    clock.ms += 10;
    progress.update(step);
  }
  assert.equal(texts.length, 11);
  assert.match(texts.at(-1)!, /100\/100 .* ETA 0:00/);
});

Deno.test("progress fits the terminal's width", () => {
  const { progress, texts } = display({ columns: () => 20 });
  progress.update(10, { loss: 2 });
  assert.deepEqual(texts, ["\rtrain 10/100  [==  \x1b[K"]);
});

Deno.test("progress prints lines above the one it rewrites", () => {
  const { progress, texts } = display({});
  progress.print("before");
  progress.update(10);
  progress.print("val acc 0.5");
  const line = "\rtrain 10/100  [==                  ]  10 %\x1b[K";
  assert.deepEqual(texts, ["before\n", line, "\r\x1b[Kval acc 0.5\n", line]);
});

Deno.test("progress off a terminal: a plain line every ten seconds and at the end", () => {
  const { progress, clock, texts } = display({ isTerminal: false });
  for (let step = 1; step <= 100; step++) {
    clock.ms += 250;
    progress.update(step, { loss: 1, tokens: 10 });
  }
  progress.print("saved");
  progress[Symbol.dispose]();
  assert.deepEqual(texts, [
    "train 1/100  1 %  loss 1  40 tokens/s  ETA 0:25\n",
    "train 41/100  41 %  loss 1  40 tokens/s  ETA 0:15\n",
    "train 81/100  81 %  loss 1  40 tokens/s  ETA 0:05\n",
    "train 100/100  100 %  loss 1  40 tokens/s  ETA 0:00\n",
    "saved\n",
  ]);
});

Deno.test("progress shows nothing when quiet", () => {
  const { progress, texts } = display({ isQuiet: true });
  progress.update(50, { loss: 1 });
  progress.print("saved");
  progress.update(100);
  progress[Symbol.dispose]();
  assert.deepEqual(texts, []);
});

Deno.test("progress of a resumed run counts only its own pace", () => {
  const { progress, clock, texts } = display({ start: 50, isTerminal: false });
  clock.ms += 10_000;
  progress.update(60);
  assert.deepEqual(texts, ["train 60/100  60 %  ETA 0:40\n"]);
});

Deno.test("progress follows a change of pace within its window", () => {
  const { progress, clock, texts } = display({ isTerminal: false, total: 1000 });
  for (let step = 1; step <= 100; step++) {
    clock.ms += step <= 50 ? 1000 : 100_000;
    progress.update(step, { tokens: 100_000 });
  }
  assert.ok(texts.at(-1)!.endsWith("  1000 tokens/s  ETA 25:00:00\n"));
});

Deno.test("progress without work or pace leaves out what is not known", () => {
  const { progress, texts } = display({ total: 0, isTerminal: false });
  progress.update(0, { loss: undefined });
  assert.deepEqual(texts, ["train 0/0  100 %\n"]);
});

Deno.test("progress writes durations as clocks do", () => {
  const values = [0, 59.4, 59.6, 3599.6, 3600, 360_061];
  const texts = ["0:00", "0:59", "1:00", "1:00:00", "1:00:00", "100:01:01"];
  assert.deepEqual(values.map(duration), texts);
});

Deno.test("progress of bytes is in MB, with their rate", () => {
  const { progress, clock, texts } = display({ label: "fetch", total: 269_000_000, isBytes: true });
  clock.ms += 2000;
  progress.update(25_000_000);
  progress[Symbol.dispose]();
  assert.equal(
    texts[0],
    "\rfetch 25.0/269.0 MB  [==                  ]  9 %  12.5 MB/s  ETA 0:20\x1b[K",
  );
});
