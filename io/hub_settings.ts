/**
 * Where the Hub is and where its files are kept, by the variables that its own tools read.
 *
 *     HF_ENDPOINT      the Hub's address, or a mirror's                (https://huggingface.co)
 *     HF_TOKEN         proves who asks; sent to that address only
 *     HF_HUB_CACHE     the cache of models and data sets               (HF_HOME/hub)
 *     HF_HOME          holds the cache                                 (XDG_CACHE_HOME/huggingface, ~/.cache/huggingface)
 *     HF_HUB_OFFLINE   1, ON, YES or TRUE: nothing is asked or fetched
 *
 * Source: huggingface_hub's environment variables. A token that `hf auth login` stored in a file is not read: a run uses
 * only what its own environment says.
 */
import { join } from "node:path";
import { environment } from "./cache_folder.ts";

/** The Hub as this process sees it. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly token?: string;
  /** The cache folder, which may not exist yet; undefined where no home folder is known. */
  readonly cache?: string;
  readonly isOffline: boolean;
}

const PUBLIC_HUB = "https://huggingface.co";

/**
 * Reads the variables.
 * @param get gives a variable's value. @default {the process's environment, as far as permissions reach}
 * @throws {RangeError} when HF_ENDPOINT is no http(s) address, or HF_TOKEN nothing that a header may hold.
 */
export function hubSettings(get: (name: string) => string | undefined = environment): HubSettings {
  const endpoint = get("HF_ENDPOINT") ?? PUBLIC_HUB;
  if (!/^https?:$/.test(URL.parse(endpoint)?.protocol ?? "")) {
    throw new RangeError(
      `HF_ENDPOINT must be an address such as ${PUBLIC_HUB}, got '${endpoint}'; correct or unset it`,
    );
  }
  const token = get("HF_TOKEN")?.trim() || undefined;
  // Else `fetch` refuses the header in words that repeat the token.
  if (token && !/^[\x21-\x7e]+$/.test(token)) {
    throw new RangeError(
      "HF_TOKEN must be one word of ASCII characters, which it is not; copy the token again",
    );
  }
  return {
    endpoint: endpoint.replace(/\/+$/, ""),
    token,
    cache: cacheOf(get),
    isOffline: /^(1|on|yes|true)$/i.test(get("HF_HUB_OFFLINE") ?? ""),
  };
}

function cacheOf(get: (name: string) => string | undefined): string | undefined {
  const user = get("HOME");
  const atHome = (path: string | undefined) =>
    user === undefined ? path : path?.replace(/^~(?=\/|$)/, () => user);
  const cache = atHome(get("HF_HUB_CACHE"));
  if (cache) return cache;
  const caches = atHome(get("XDG_CACHE_HOME")) ?? (user && join(user, ".cache"));
  const home = atHome(get("HF_HOME")) ?? (caches && join(caches, "huggingface"));
  return home && join(home, "hub");
}
