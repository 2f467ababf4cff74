/** Files of a data set on the disk, their hashes, and the cache of what they became. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { keep, listLocalFiles, readHashed, readKept, sha256 } from "../../io/dataset_files.ts";

async function inFolder(run: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("dataset files: listed by name and depth, links too, hidden ones not", () =>
  inFolder(async (folder) => {
    for (const path of ["a/b", "a/b/c", ".git"]) {
      await Deno.mkdir(join(folder, path), { recursive: true });
    }
    for (const path of ["z.json", "a/b/x.json", "a/b/c/deep.json", ".git/x.json", "README.md"]) {
      await Deno.writeTextFile(join(folder, path), "");
    }
    const wanted = (name: string) => name.endsWith(".json");
    assert.deepEqual(await listLocalFiles(folder, wanted), ["a/b/x.json", "z.json"]);
    assert.deepEqual(await listLocalFiles(join(folder, "z.json"), wanted), [""]);
    assert.equal(await listLocalFiles(join(folder, "none"), wanted), undefined);
    await assert.rejects(listLocalFiles("/dev/null", wanted), {
      name: "TypeError",
      message: "source: '/dev/null' is neither a file nor a folder; name one of these",
    });
  }));

Deno.test("dataset files: SHA-256 as in its standard; a missing file is named", () =>
  inFolder(async (folder) => {
    const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, B.1
    await Deno.writeTextFile(join(folder, "x"), "abc");
    const { bytes, sha256: hash } = await readHashed(join(folder, "x"));
    assert.deepEqual([new TextDecoder().decode(bytes), hash], ["abc", abc]);
    assert.equal(await sha256("abc"), abc);
    await assert.rejects(readHashed(join(folder, "y")), {
      name: "TypeError",
      message: `${folder}/y: cannot be read; check source and the file's permissions`,
    });
  }));

Deno.test("dataset files: what is kept is read again; a cache that is none loses nothing", () =>
  inFolder(async (folder) => {
    const cache = join(folder, "cache", "datasets");
    assert.equal(await readKept(cache, "k"), undefined);
    const file = await keep(cache, "k", { a: ["½"] });
    assert.equal(file, join(cache, "k.json"));
    assert.deepEqual(await readKept(cache, "k"), { a: ["½"] });
    await Deno.writeTextFile(file, '{"a":');
    assert.equal(await readKept(cache, "k"), undefined);
    assert.equal(await keep(join(file, "below"), "k", {}), undefined);
    assert.deepEqual([await keep(undefined, "k", {}), await readKept(undefined, "k")], [
      undefined,
      undefined,
    ]);
  }));
