/** Relative paths of a command line: from the folder that it was given in. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { callersFolder } from "../../io/callers_folder.ts";
import { main } from "../../main.ts";
import { captured } from "../training/tiny_model.ts";

const TORN = "runs/last";

/** What testing a path says, in a folder that has an empty checkpoint at {@link TORN}. */
async function said(path: string, folder: (parent: string) => string): Promise<string> {
  const before = Deno.cwd();
  const parent = await Deno.makeTempDir();
  try {
    await Deno.mkdir(join(parent, TORN), { recursive: true });
    const args = ["test", `--ckpt=${path}`, "--print_config"];
    const { result, errors } = await captured(() => main(args, folder(parent)));
    assert.equal(result, 2);
    return errors;
  } finally {
    Deno.chdir(before);
    await Deno.remove(parent, { recursive: true });
  }
}

Deno.test("a command's relative paths count from the caller's folder", async () => {
  assert.match(await said(TORN, (parent) => parent), /runs\/last.*state\.json/);
  assert.match(await said("last", (parent) => join(parent, "runs")), /last.*state\.json/);
  assert.match(await said("runs/first", (parent) => parent), /^no checkpoint .*runs\/first/);
});

Deno.test("a caller's folder that is gone is told in a line", async () => {
  assert.match(await said(TORN, (parent) => join(parent, "gone")), /^No such file.*gone'?$/);
});

Deno.test("without permission to know the caller's folder there is none, and nobody is asked", () => {
  const { state } = Deno.permissions.querySync({ name: "env", variable: "INIT_CWD" });
  if (state !== "granted") assert.equal(callersFolder(), undefined);
});
