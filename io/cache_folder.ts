/** The user's cache folder of this project, by the rules of `denow`, as far as the permissions reach. */
import { join } from "node:path";

/** An environment variable, or undefined where it is not set, is empty or may not be read. */
export function environment(variable: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable }); // asking would prompt
  return state === "granted" ? Deno.env.get(variable) || undefined : undefined;
}

/** COLAR_CACHE, else colar-webgpu in XDG_CACHE_HOME or ~/.cache; undefined where none is known. */
export function cacheFolder(): string | undefined {
  const given = environment("COLAR_CACHE");
  if (given) return given;
  const home = environment("HOME");
  const caches = environment("XDG_CACHE_HOME") ?? (home && join(home, ".cache"));
  return caches && join(caches, "colar-webgpu");
}
