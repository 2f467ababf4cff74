/**
 * Files that are too large for the repository, or not ours to publish: where a variable points, else in a folder `shared`
 * beside the project, where there is one. Tests of them are skipped, with a reason, where there is neither.
 */
import { fileURLToPath } from "node:url";
import { environment } from "../io/cache_folder.ts";

/**
 * A folder of such files.
 * @param variable names the folder
 * @param place of the folder below `shared`
 * @returns undefined where neither is there
 */
export async function realFolder(variable: string, place: string): Promise<string | undefined> {
  const named = environment(variable);
  if (named !== undefined) return named;
  const beside = fileURLToPath(new URL(`../../shared/${place}`, import.meta.url));
  return await Deno.stat(beside).then(() => beside, () => undefined);
}
