/** Tables of the published code on text and tokens, copied to tests/golden/methods_text, and the tokenizer they use. */
import { loadTokenizer, type Tokenizer } from "../io/tokenizer.ts";

const FOLDER = new URL("./golden/methods_text/", import.meta.url);

/** A table by its name without `.json`. */
export async function golden<T>(name: string): Promise<T> {
  return JSON.parse(await Deno.readTextFile(new URL(`${name}.json`, FOLDER)));
}

/** The tokenizer of all tables: 600 tokens, `###` and EOS among them. */
export function methodsTokenizer(): Promise<Tokenizer> {
  return loadTokenizer(new URL("model", FOLDER).pathname);
}
