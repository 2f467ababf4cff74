/**
 * A tokenizer from a folder in Hub layout: tokenizer.json and tokenizer_config.json.
 *
 * Encoding adds no special tokens (no BOS, no chat template: the methods ask for none). Decoding leaves special tokens
 * out and cleans up spaces where the config says so. As in the published code a token `[PAD]` is added: its id is the
 * number of tokens, the next free one. The embedding matrix must then have `size` rows, one more than the checkpoint's;
 * a matrix that is larger already (DeepSeek-R1-Distill-Qwen) is cut to `size`, and `[PAD]` takes the row found there.
 *
 * `@huggingface/tokenizers` does the work and reads any tokenizer.json. Its step `Digits` splits at `0` to `9` alone,
 * where the original in Rust splits at every number of Unicode (`½`, `Ⅳ`, `٣`): SmolLM2's ids of such texts would differ.
 * The step is therefore replaced by a `Split` at `\p{N}`, which is the same in both.
 *
 * Source: transformers 4.45 (tokenization_utils_fast.py), which the published code uses.
 */
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { join } from "node:path";
import { readTokenizerFiles } from "./tokenizer_files.ts";

/** The string that stands between question, reasoning and answer; always one token. */
export const SEPARATOR = "###";

/** The token that every tokenizer is given: what fills rows. */
export const PAD = "[PAD]";

/** What the methods put before and after the separator: speed, equations, numbers, sentences, the answer. */
const CONTEXTS = [
  ["", ""],
  ["(Thinking speed: 2)", ""],
  ["(Thinking speed: auto)", ""],
  ["", "<<1+2=3>>"],
  ["<<1+2=3>>", ""],
  ["3", "3"],
  ["so it is 3.", "So"],
  ["\n", ""],
  ["", "Answer:3"],
] as const;

/**
 * How `###` is tokenised beside text: as one string with it, as published, or always alone. They differ where both have a
 * token in common, such as `###\n` of Llama's vocabulary: as one string the separator is lost.
 */
export type SeparatorTokens = "as-released" | "alone";

/** Text to token ids and back. Made by `loadTokenizer`. */
export class Tokenizer {
  /** The token that ends a text, as a string. */
  readonly eosToken: string;
  readonly eosId: number;
  /** Id of `[PAD]`. */
  readonly padId: number;
  /** Id of `###`. */
  readonly separatorId: number;
  /** Number of tokens, `[PAD]` included: the rows that the embedding matrix must have. */
  readonly size: number;
  /** The tokens outside the model's merges as tokenizer.json lists them, by id: `[PAD]` and those of the settings too. */
  readonly addedTokens: readonly AddedToken[];
  readonly #hub: HubTokenizer;
  readonly #cleanUp: boolean;

  /**
   * @param json value of tokenizer.json
   * @param config value of tokenizer_config.json
   * @param folder where both came from, for messages
   * @param separatorTokens what data/prompt.ts does about `###` beside text
   * @throws {TypeError} when one is not what its file holds, or `eos_token` is missing or unknown
   * @throws {RangeError} when `###` is not one token wherever the methods use it
   */
  constructor(
    json: unknown,
    config: unknown,
    folder: string,
    readonly separatorTokens: SeparatorTokens = "alone",
  ) {
    const vocabulary = readVocabulary(json, join(folder, "tokenizer.json"));
    const settings = requireObject(config, join(folder, "tokenizer_config.json"));
    this.eosToken = contentOf(settings.eos_token) ?? "";
    const eosId = vocabulary.ids.get(this.eosToken);
    if (eosId === undefined) {
      const found = this.eosToken ? `'${this.eosToken}' is not in tokenizer.json` : "is missing";
      throw new TypeError(
        `${folder}/tokenizer_config.json: eos_token ${found}; name the token that ends a text`,
      );
    }
    this.eosId = eosId;
    addConfigured(vocabulary, settings);
    this.padId = vocabulary.add(PAD, true);
    this.size = vocabulary.next;
    this.addedTokens = [...vocabulary.added.values()].sort((a, b) => a.id - b.id);
    this.#cleanUp = settings.clean_up_tokenization_spaces === true;
    try {
      const object = requireObject(json, folder);
      const pre_tokenizer = splitNumbers(object.pre_tokenizer);
      this.#hub = new HubTokenizer(
        { ...object, added_tokens: this.addedTokens, pre_tokenizer },
        settings,
      );
    } catch (cause) {
      const fault = (cause as Error).message.replace(/\s+/g, " ");
      throw new TypeError(`${folder}/tokenizer.json: not understood (${fault})`, { cause });
    }
    this.separatorId = this.#findSeparator(folder);
  }

  /** @returns token ids, without special tokens in front or behind; [] for "" */
  encode(text: string): number[] {
    return this.#hub.encode(text, { add_special_tokens: false }).ids;
  }

  /** @returns the text of token ids without special tokens; ids without a token are left out */
  decode(ids: Iterable<number>): string {
    const known = [...ids].filter((id) => this.#hub.id_to_token(id) !== undefined);
    if (known.length === 0) return "";
    return this.#hub.decode(known, {
      skip_special_tokens: true,
      clean_up_tokenization_spaces: this.#cleanUp,
    });
  }

  /**
   * Where `[PAD]` finds its row.
   * @param numRows rows of the checkpoint's embedding matrix
   * @returns `new` when one row must be appended, `existing` when the first `size` rows are used as they are
   * @throws {RangeError} when the matrix is too small for this tokenizer
   */
  padRow(numRows: number): "new" | "existing" {
    if (numRows >= this.size) return "existing";
    if (numRows === this.padId && numRows === this.size - 1) return "new";
    throw new RangeError(
      `The tokenizer has ${this.size - 1} tokens but the model ${numRows} embedding rows; ` +
        "take both from the same checkpoint",
    );
  }

  #findSeparator(folder: string): number {
    const [id] = this.encode(SEPARATOR);
    for (const [before, after] of CONTEXTS) {
      const text = before + SEPARATOR + after;
      const ids = this.encode(text);
      const isOne = text === SEPARATOR
        ? ids.length === 1
        : ids.filter((other) => other === id).length === 1;
      if (isOne) continue;
      const pieces = ids.map((piece) => JSON.stringify(this.#hub.id_to_token(piece))).join(" ");
      throw new RangeError(
        `${folder}: '${SEPARATOR}' must be one token, but ${
          JSON.stringify(text)
        } becomes ${pieces}; ` +
          "choose a model with such a token (Llama 3, Qwen2, GPT-2, SmolLM2) or train one and name it in added_tokens",
      );
    }
    return id;
  }
}

/**
 * Loads a tokenizer.
 * @param folder holds tokenizer.json and tokenizer_config.json
 * @param separatorTokens what data/prompt.ts does about `###` beside text
 * @throws {TypeError} for a missing or invalid file, by name
 * @throws {RangeError} when `###` is not one token of it
 */
export async function loadTokenizer(
  folder: string,
  separatorTokens?: SeparatorTokens,
): Promise<Tokenizer> {
  const { json, config } = await readTokenizerFiles(folder);
  return new Tokenizer(json, config, folder, separatorTokens);
}

/** A token outside the model's merges, as tokenizer.json lists it. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** Tokens by string, which grow as the library's do: a known token keeps its id, a new one takes the next. */
class Vocabulary {
  readonly added = new Map<string, AddedToken>();
  #next = 0;

  constructor(readonly ids: Map<string, number>) {
    for (const id of ids.values()) this.#next = Math.max(this.#next, id + 1);
  }

  /** The first id above all tokens. */
  get next(): number {
    return this.#next;
  }

  /** Lists a token among the added ones. @returns its id */
  add(content: string, special: boolean, fields: object = {}, id?: number): number {
    id ??= this.ids.get(content) ?? this.#next;
    this.ids.set(content, id);
    this.#next = Math.max(this.#next, id + 1);
    const old = this.added.get(content) ?? {
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    };
    this.added.set(content, { ...old, ...fields, id, content, special });
    return id;
  }
}

function readVocabulary(json: unknown, file: string): Vocabulary {
  const { model, added_tokens = [] } = requireObject(json, file);
  const { vocab } = requireObject(model, `${file}: model`);
  // Unigram models list [token, score] pairs, whose place is the id.
  const pairs: [unknown, unknown][] = Array.isArray(vocab)
    ? vocab.map((entry, id) => [Array.isArray(entry) ? entry[0] : entry, id])
    : Object.entries(requireObject(vocab, `${file}: model.vocab`));
  const vocabulary = new Vocabulary(
    new Map(
      pairs.map(([token, id]) => [requireToken(token, id, `${file}: model.vocab`), Number(id)]),
    ),
  );
  if (!Array.isArray(added_tokens)) throw new TypeError(`${file}: added_tokens must be a list`);
  for (const entry of added_tokens) {
    const token = requireObject(entry, `${file}: added_tokens`);
    const content = requireToken(token.content, token.id, `${file}: added_tokens`);
    vocabulary.add(content, token.special === true, token, Number(token.id));
  }
  return vocabulary;
}

/** Tokens that only tokenizer_config.json names; transformers adds them in this order. */
function addConfigured(vocabulary: Vocabulary, config: Readonly<Record<string, unknown>>): void {
  const decoder = Object.entries((config.added_tokens_decoder ?? {}) as Record<string, unknown>);
  for (const [id, token] of decoder.toSorted(([a], [b]) => Number(a) - Number(b))) {
    const content = contentOf(token);
    if (content === undefined || vocabulary.added.has(content)) continue;
    const fields = token as Readonly<Record<string, unknown>>;
    vocabulary.add(content, fields.special === true, fields, Number(id));
  }
  const roles = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"].map((r) => config[`${r}_token`]);
  for (const token of [...roles, ...(config.additional_special_tokens as unknown[] ?? [])]) {
    const content = contentOf(token);
    if (content) vocabulary.add(content, true);
  }
}

/** A token given as a string or as an object with `content`. */
function contentOf(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : undefined;
}

/** A pre-tokenizer whose steps `Digits` split at every number of Unicode. */
function splitNumbers(step: unknown): unknown {
  if (typeof step !== "object" || step === null) return step;
  const { type, pretokenizers, individual_digits } = step as Readonly<Record<string, unknown>>;
  if (type === "Sequence" && Array.isArray(pretokenizers)) {
    return { ...step, pretokenizers: pretokenizers.map(splitNumbers) };
  }
  if (type !== "Digits") return step;
  const Regex = individual_digits === true ? "\\p{N}" : "\\p{N}+";
  return { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false };
}

function requireToken(content: unknown, id: unknown, where: string): string {
  if (typeof content === "string" && Number.isInteger(id) && Number(id) >= 0) return content;
  throw new TypeError(
    `${where}: expected tokens with integer ids from 0, got ${JSON.stringify(content)}: ${
      JSON.stringify(id)
    }`,
  );
}

function requireObject(value: unknown, where: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new TypeError(
    `${where}: expected a JSON object, got ${JSON.stringify(value)?.slice(0, 40)}`,
  );
}
