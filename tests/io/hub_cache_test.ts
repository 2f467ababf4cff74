/** Ids of the Hub, and the layout of the cache that its own tools share. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { checkPath, linkTarget, parseHubId, RepoCache } from "../../io/hub_cache.ts";

Deno.test("hub id: owner/name with or without a revision, and nothing else", () => {
  const id = (text: string) => {
    const { name, revision } = parseHubId(text, "model") ?? {};
    return name && `${name} ${revision}`;
  };
  assert.equal(id("meta-llama/Llama-3.2-1B-Instruct"), "meta-llama/Llama-3.2-1B-Instruct main");
  assert.equal(id("a/b@v1.0"), "a/b v1.0");
  assert.equal(id("a/b@refs/convert/parquet"), "a/b refs/convert/parquet");
  const others =
    "gpt2 assets/nano/x a/b@ a/b@../c ../b ./a/b a/.b a//b /a/b a/b/ a--b/c a/b@x//y a\\b".split(
      " ",
    );
  for (const other of others) assert.equal(id(other), undefined, other);
});

Deno.test("hub cache: refs, snapshots and blobs lie where the Hub's own tools have them", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const cache = new RepoCache(folder, parseHubId("o/n@refs/pr/1", "dataset")!);
    const commit = "1".repeat(40);
    assert.equal(await cache.commit(), undefined);
    assert.deepEqual([...await cache.files(commit)], []);
    await cache.setCommit(commit);
    const top = join(folder, "datasets--o--n");
    assert.equal(await Deno.readTextFile(join(top, "refs/refs/pr/1")), commit);
    assert.equal(await cache.commit(), commit);
    assert.equal(cache.blob("e"), join(top, "blobs/e"));
    await Deno.mkdir(join(top, "blobs"));
    await Deno.writeTextFile(cache.blob("e"), "content");
    await cache.link(commit, "main/a.json", "e");
    await cache.link(commit, "main/a.json", "e"); // again is no mistake
    const path = join(top, "snapshots", commit, "main/a.json");
    assert.equal(await Deno.readTextFile(path), "content");
    assert.deepEqual([...await cache.files(commit)], ["main/a.json"]);
    const oid = "2".repeat(40);
    const listed = [
      { path: "main/a.json", size: 7, oid, sha256: undefined, xetHash: undefined },
      { path: "b.parquet", size: 9, oid, sha256: "3".repeat(64), xetHash: "4".repeat(64) },
    ];
    assert.equal(await cache.listing(commit), undefined);
    await cache.setListing(commit, new Map(listed.map((file) => [file.path, file])));
    assert.deepEqual([...(await cache.listing(commit))!.values()], listed.toReversed());
    const tree = join(top, `trees/${commit}.json`);
    assert.deepEqual(JSON.parse(await Deno.readTextFile(tree)), {
      format_version: 1,
      files: {
        "b.parquet": {
          size: 9,
          blob_id: oid,
          lfs_sha256: "3".repeat(64),
          lfs_size: 9,
          xet_hash: "4".repeat(64),
        },
        "main/a.json": { size: 7, blob_id: oid },
      },
    });
    for (
      const other of ["", '{"format_version": 2}', '{"format_version": 1, "files": {"../x": {}}}']
    ) {
      await Deno.writeTextFile(tree, other);
      assert.equal(await cache.listing(commit), undefined);
    }
    (await cache.lock("e"))[Symbol.dispose]();
    assert.ok((await Deno.stat(join(folder, ".locks/datasets--o--n/e.lock"))).isFile);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("hub cache: a link leads from the snapshot to the blob", () => {
  for (const path of ["a.json", "main/a.json"]) {
    const resolved = join("snapshots/c0ffee", path, "..", linkTarget(path, "e"));
    assert.equal(resolved, "blobs/e");
  }
});

Deno.test("hub cache: paths that lead elsewhere are refused", () => {
  assert.equal(checkPath("main/a b.parquet", "x"), "main/a b.parquet");
  for (
    const path of ["", "/etc/x", "../x", "a/../../x", "a//b", "a\\..\\b", "a\0b", "C:x", "./x"]
  ) {
    assert.throws(() => checkPath(path, "model o/n@main"), {
      name: "SyntaxError",
      message: `model o/n@main has a file '${path.replace("\0", "?")}', whose name is unsafe; ` +
        "nothing is fetched",
    });
  }
});

Deno.test("hub cache: no link is made under a name that leads elsewhere", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const cache = new RepoCache(join(folder, "hub"), parseHubId("o/n", "model")!);
    const commit = "1".repeat(40);
    for (const path of ["../../../../escape", join(folder, "escape"), "a\\b", "a:b"]) {
      await assert.rejects(cache.link(commit, path, "e"), { name: "SyntaxError" });
    }
    assert.deepEqual([...Deno.readDirSync(folder)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
