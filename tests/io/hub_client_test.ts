/** Requests to the Hub: redirects and the token, how long it waits, and when it gives up. */
import assert from "node:assert/strict";
import { HubClient } from "../../io/hub_client.ts";
import { type HubServer, hubTest, refusal } from "./hub_server.ts";

function client(hub: HubServer, cache: string, variables: Record<string, string> = {}) {
  const { settings, waits, ...options } = hub.options(cache, variables);
  const lines: string[] = [];
  const say = (line: string) => void lines.push(line);
  const asking = new HubClient({ ...options, settings: settings!, subject: "model o/n@main", say });
  return { asking, waits, lines };
}

hubTest(
  "client: a redirect within the Hub keeps the token, one elsewhere does not",
  async (hub, cache) => {
    const { asking } = client(hub, cache, { HF_TOKEN: "t" });
    hub.faults.push(() =>
      new Response(null, { status: 307, headers: { Location: "/api/renamed" } })
    );
    hub.faults.push(() =>
      new Response(null, { status: 302, headers: { Location: `${hub.storage}/x` } })
    );
    hub.faults.push(() => new Response("here"));
    const response = await asking.fetch(`${hub.endpoint}/api/old`, {
      headers: { Authorization: "Bearer of someone else" },
    });
    assert.equal(await response.text(), "here");
    assert.deepEqual(hub.asked.map(({ path, authorization }) => [path, authorization]), [
      ["/api/old", "Bearer t"],
      ["/api/renamed", "Bearer t"],
      ["/x", null],
    ]);
  },
);

hubTest("client: redirects without end", async (hub, cache) => {
  const { asking } = client(hub, cache);
  const round = () => new Response(null, { status: 302, headers: { Location: "/again" } });
  for (let i = 0; i < 6; i++) hub.faults.push(round);
  await assert.rejects(asking.fetch(`${hub.endpoint}/again`), {
    name: "RangeError",
    message: `model o/n@main: ${asking.host} redirects without end; check HF_ENDPOINT`,
  });
});

hubTest("client: an address that is none of the net's is not followed", async (hub, cache) => {
  const { asking } = client(hub, cache);
  hub.faults.push(() =>
    new Response(null, { status: 302, headers: { Location: "file:///etc/hostname" } })
  );
  await assert.rejects(asking.fetch(`${hub.endpoint}/x`), {
    name: "RangeError",
    message: `model o/n@main: ${asking.host} leads to a file: address; check HF_ENDPOINT`,
  });
});

hubTest("client: what a refusal says is read as far as it is short", async (hub, cache) => {
  const { asking } = client(hub, cache);
  const chunk = new Uint8Array(1 << 15).fill(32);
  let isCancelled = false;
  const endless = new ReadableStream({
    pull: (controller) => controller.enqueue(chunk),
    cancel: () => void (isCancelled = true),
  });
  hub.faults.push(() => new Response(endless, { status: 400 }));
  await assert.rejects(asking.fetch(`${hub.endpoint}/x`), {
    message: `model o/n@main: ${asking.host} answers 400; run again later, or check HF_ENDPOINT`,
  });
  while (!isCancelled) await new Promise((resolve) => setTimeout(resolve, 10));
});

hubTest("client: an answer that falls silent is given up", async (hub, cache) => {
  const { asking } = client(hub, cache);
  const quick = new HubClient({ ...asking, silenceMs: 100 });
  let close = () => {};
  const half = new ReadableStream({
    start: (controller) => {
      controller.enqueue(new TextEncoder().encode('{"sha": '));
      close = () => controller.close();
    },
    cancel: () => void (close = () => {}),
  });
  hub.faults.push(() => new Response(half));
  await assert.rejects(quick.ask(`${hub.endpoint}/x`), {
    name: "Error",
    message:
      `model o/n@main: ${asking.host} breaks off its answer (silent for 0.1 s); run again later`,
  });
  close();
});

hubTest("client: a gated data set's page is below datasets/", async (hub, cache) => {
  const { asking } = client(hub, cache, { HF_TOKEN: "t" });
  const gated = new HubClient({ ...asking, subject: "dataset o/n@main" });
  hub.faults.push(() => refusal(403, "GatedRepo", "Access to it is restricted"));
  await assert.rejects(gated.fetch(`${hub.endpoint}/x`), {
    message: new RegExp(`accept its terms at ${hub.endpoint}/datasets/o/n with the account`),
  });
});

hubTest("client: a date to wait until, and what is said meanwhile", async (hub, cache) => {
  const { asking, waits, lines } = client(hub, cache);
  const date = new Date(Date.now() + 30_000).toUTCString();
  hub.faults.push(() => refusal(429, "", "", { "Retry-After": date }));
  hub.faults.push(() => new Response("here"));
  await (await asking.fetch(`${hub.endpoint}/x`)).body?.cancel();
  assert.ok(waits.length === 1 && waits[0] >= 28_000 && waits[0] <= 30_000, `${waits}`);
  assert.deepEqual(lines, [`${asking.host} answers 429; trying again in ${waits[0] / 1000} s`]);
});

hubTest(
  "client: what was sent is not sent twice unless the Hub says it is busy",
  async (hub, cache) => {
    const { asking, waits } = client(hub, cache);
    const post = () => asking.fetch(`${hub.endpoint}/x`, { method: "POST", body: "{}" });
    hub.faults.push(() => refusal(503, "", "down"));
    await assert.rejects(post(), { message: /answers 503 \(down\)/ });
    hub.faults.push(() => refusal(429, "", "", { "Retry-After": "1" }), () => new Response("done"));
    assert.equal(await (await post()).text(), "done");
    assert.deepEqual(waits, [1000]);
    assert.equal(hub.asked.length, 3);
  },
);

hubTest("client: no answer in time", async (hub, cache) => {
  const { asking, waits } = client(hub, cache);
  const { promise, resolve } = Promise.withResolvers<Response>();
  let isFirst = true;
  hub.faults.push(() => {
    const answer = isFirst ? promise : new Response("here");
    isFirst = false;
    return answer;
  });
  const quick = new HubClient({
    ...asking,
    silenceMs: 100,
    sleep: (ms) => Promise.resolve(void waits.push(ms)),
  });
  try {
    assert.equal(await (await quick.fetch(`${hub.endpoint}/x`)).text(), "here");
    assert.deepEqual(waits, [1000]);
  } finally {
    resolve(new Response());
  }
});

hubTest("client: an interruption ends a wait and a request", async (hub, cache) => {
  const { settings } = hub.options(cache);
  const controller = new AbortController();
  const { signal } = controller;
  const asking = new HubClient({ settings: settings!, subject: "model o/n@main", signal });
  hub.faults.push(() => refusal(429, "", "", { "Retry-After": "200" }));
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(asking.fetch(`${hub.endpoint}/x`), { name: "AbortError" });
  await assert.rejects(asking.fetch(`${hub.endpoint}/x`), { name: "AbortError" });
  assert.equal(hub.asked.length, 1);
});
