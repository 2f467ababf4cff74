/** The Hub's variables: which one decides, and what they are when unset. */
import assert from "node:assert/strict";
import { hubSettings } from "../../io/hub_settings.ts";

const of = (variables: Record<string, string>) => hubSettings((name) => variables[name]);

Deno.test("hub settings: defaults", () => {
  assert.deepEqual(of({ HOME: "/home/me" }), {
    endpoint: "https://huggingface.co",
    token: undefined,
    cache: "/home/me/.cache/huggingface/hub",
    isOffline: false,
  });
  assert.equal(of({}).cache, undefined);
});

Deno.test("hub settings: the nearest variable decides where the cache is", () => {
  const all: Record<string, string> = {
    HF_HUB_CACHE: "/a",
    HF_HOME: "~/b",
    XDG_CACHE_HOME: "/c",
    HOME: "/home/me",
  };
  const caches = ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"].map((name) => {
    const { cache } = of(all);
    delete all[name];
    return cache;
  });
  assert.deepEqual(caches, [
    "/a",
    "/home/me/b/hub",
    "/c/huggingface/hub",
    "/home/me/.cache/huggingface/hub",
  ]);
});

Deno.test("hub settings: endpoint, token and offline", () => {
  const { endpoint, token } = of({ HF_ENDPOINT: "http://mirror:8080/hf/", HF_TOKEN: " t \n" });
  assert.deepEqual([endpoint, token], ["http://mirror:8080/hf", "t"]);
  for (const yes of ["1", "ON", "yes", "True"]) assert.ok(of({ HF_HUB_OFFLINE: yes }).isOffline);
  for (const no of ["0", "", "false"]) assert.ok(!of({ HF_HUB_OFFLINE: no }).isOffline);
  for (const wrong of ["mirror", "ftp://x", "file:///x"]) {
    assert.throws(() => of({ HF_ENDPOINT: wrong }), {
      name: "RangeError",
      message:
        `HF_ENDPOINT must be an address such as https://huggingface.co, got '${wrong}'; correct or unset it`,
    });
  }
  for (const wrong of ["two\nlines", "two words", "dots…"]) {
    assert.throws(() => of({ HF_TOKEN: wrong }), {
      name: "RangeError",
      message:
        "HF_TOKEN must be one word of ASCII characters, which it is not; copy the token again",
    });
  }
});
