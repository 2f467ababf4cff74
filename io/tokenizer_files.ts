/**
 * What a tokenizer's folder says: tokenizer.json as it is, and the settings that transformers would put together.
 *
 * tokenizer_config.json comes first. A folder from before `added_tokens_decoder` can name its special tokens in
 * special_tokens_map.json, which then has the last word; what neither names has the default of its class, which config.json
 * tells where tokenizer_config.json does not. So GPT-2 ends a text with `<|endoftext|>`, although its tokenizer_config.json
 * says nothing about it. `eos_token_id` of config.json is read by generation alone, not by a tokenizer.
 *
 * Source: transformers 4.45 (tokenization_utils_base.py, AutoTokenizer, the constructors of the fast classes).
 */
import { join } from "node:path";
import { LFS_HEAD, refuseLfsPointer } from "./lfs_pointer.ts";

/** The file of a tokenizer. */
export const TOKENIZER = "tokenizer.json";

/** The file of its settings. */
export const TOKENIZER_CONFIG = "tokenizer_config.json";

/** The file in which older folders name the special tokens. */
export const SPECIAL_TOKENS = "special_tokens_map.json";

/** The token that ends a text unless a file names another, by class. */
const EOS: Readonly<Record<string, string>> = {
  GPT2Tokenizer: "<|endoftext|>",
  Qwen2Tokenizer: "<|endoftext|>",
};

/** Classes by the `model_type` of config.json. */
const CLASSES: Readonly<Record<string, string>> = {
  gpt2: "GPT2Tokenizer",
  qwen2: "Qwen2Tokenizer",
};

type Settings = Readonly<Record<string, unknown>>;

/**
 * Reads a tokenizer's files.
 * @param folder holds tokenizer.json and tokenizer_config.json; special_tokens_map.json and config.json may be there
 * @returns the values of tokenizer.json and tokenizer_config.json, unchecked, the latter with what other files and the
 * class add to it
 * @throws {TypeError} for a missing file or one that is not JSON, by name
 */
export async function readTokenizerFiles(
  folder: string,
): Promise<{ readonly json: unknown; readonly config: unknown }> {
  const [json, config] = await Promise.all(
    [TOKENIZER, TOKENIZER_CONFIG].map((name) => readJson(join(folder, name))),
  );
  if (!isObject(config)) return { json, config };
  const named = config.added_tokens_decoder === undefined
    ? withSpecialTokens(config, await readOptional(join(folder, SPECIAL_TOKENS)))
    : config;
  if (named.eos_token !== undefined) return { json, config: named };
  const eos_token = classEos(named, await readOptional(join(folder, "config.json")));
  return { json, config: eos_token === undefined ? named : { ...named, eos_token } };
}

/**
 * Settings with what special_tokens_map.json says in their place; of the additional tokens, with both files'. Tokens that
 * the map describes are named by their text: what they swallow beside them, tokenizer.json says.
 */
function withSpecialTokens(config: Settings, map: Settings): Settings {
  const key = "additional_special_tokens";
  const textOf = (token: unknown) => (token as { content?: unknown } | null)?.content ?? token;
  const named = Object.entries(map).map(([role, token]) => [role, textOf(token)]);
  const both = [config[key], map[key]].flatMap((tokens) => Array.isArray(tokens) ? tokens : []);
  return {
    ...config,
    ...Object.fromEntries(named),
    ...both.length > 0 && { [key]: [...new Set(both.map(textOf))] },
  };
}

/** The token that the tokenizer's class ends a text with. */
function classEos(settings: Settings, model: Settings): string | undefined {
  const name = settings.tokenizer_class ?? model.tokenizer_class ??
    CLASSES[String(model.model_type)];
  return EOS[String(name).replace(/Fast$/, "")];
}

async function readOptional(file: string): Promise<Settings> {
  const value = await Deno.stat(file).then(() => readJson(file), () => undefined);
  if (value === undefined || isObject(value)) return value ?? {};
  throw new TypeError(
    `${file}: expected a JSON object, got ${JSON.stringify(value).slice(0, 40)}; ` +
      "take it from the same checkpoint as tokenizer.json",
  );
}

async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (cause) {
    const next = file.endsWith(TOKENIZER_CONFIG)
      ? 'copy it from the model\'s repository, or write {"eos_token": "TOKEN"} into it: the token that ends a text'
      : 'write them with AutoTokenizer.from_pretrained("MODEL").save_pretrained("FOLDER")';
    throw new TypeError(
      `${file}: cannot be read; a model folder has tokenizer.json and tokenizer_config.json; ${next}`,
      { cause },
    );
  }
  refuseLfsPointer(new TextEncoder().encode(text.slice(0, LFS_HEAD)), file);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TypeError(`${file}: not valid JSON; fetch or save the file again`, { cause });
  }
}

function isObject(value: unknown): value is Settings {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
