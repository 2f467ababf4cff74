/**
 * Which golden cases a folder holds. Tensors without the JSON that describes them are found as a case too: opening it
 * fails and names the file that is missing.
 */

/** Folders below `root` with case.json or tensors.safetensors: a case each, as paths from `root`. */
export async function findCases(root: string): Promise<string[]> {
  return await foldersWith(root, ["case.json", "tensors.safetensors"]);
}

/** Folders below `root` with cases/: a set of method cases each, as paths from `root`. */
export async function findMethodSets(root: string): Promise<string[]> {
  return await foldersWith(root, ["cases"]);
}

/** Names of the cases in a set's folder `cases`: of NAME.json, NAME.safetensors or both. */
export async function caseNames(path: string): Promise<string[]> {
  const files = await Array.fromAsync(Deno.readDir(path));
  const names = files.flatMap(({ name }) => /^(.+)\.(?:json|safetensors)$/.exec(name)?.[1] ?? []);
  return [...new Set(names)].sort();
}

/** Folders that hold one of some entries; "" is the root itself. */
async function foldersWith(root: string, wanted: readonly string[], path = ""): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(`${root}/${path}`));
  const found = entries.some(({ name }) => wanted.includes(name)) ? [path] : [];
  const folders = entries.filter(({ isDirectory }) => isDirectory);
  for (const { name } of folders) {
    found.push(...await foldersWith(root, wanted, path ? `${path}/${name}` : name));
  }
  return found.sort();
}
