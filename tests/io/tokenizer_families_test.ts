/**
 * Tokenizers of model families against the library in Rust: ids of 200 rows of published data sets as the methods put
 * them, and of texts with unusual characters, there and back. Excerpts of three vocabularies stand in tests/golden/tokenizers;
 * whole ones (Llama 3.1 and 3.2 share theirs) are read from where these point (TOKENIZERS_DIR unset: shared/tokenizers
 * beside the project, where it is), and skipped otherwise:
 *
 *     TOKENIZERS_DIR/{llama3.2,qwen2.5,deepseek-r1-distill-qwen,gpt2}   or with `-derived`, `-built` behind the name
 *     SMOLLM2_DIR                                                       SmolLM2-135M-Instruct
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import {
  answerIds,
  colarAnswerIds,
  colarStepsIds,
  cotStepsIds,
  type Encoder,
  promptIds,
  questionIds,
  remainingStepsIds,
  type Speed,
} from "../../data/prompt.ts";
import type { QsaRow } from "../../data/qsa.ts";
import { environment } from "../../io/cache_folder.ts";
import { loadTokenizer, type Tokenizer } from "../../io/tokenizer.ts";
import { realFolder } from "../real_files.ts";

interface Family {
  readonly eos_token: string;
  readonly eos_id: number;
  readonly pad_id: number;
  readonly separator_id: number;
  readonly row_checksums: string;
  readonly texts: readonly {
    readonly ids: number[];
    readonly decoded?: string;
    readonly without_last?: string;
  }[];
}

const GOLDEN = new URL("../golden/tokenizers/", import.meta.url);
const readGolden = async (name: string) =>
  JSON.parse(await Deno.readTextFile(new URL(name, GOLDEN)));
const ROWS: readonly (QsaRow & { readonly set: string })[] = await readGolden("rows.json");
const EXPECTED: {
  readonly rows_of_excerpts: readonly number[];
  readonly texts: readonly string[];
  readonly families: Readonly<Record<string, Family>>;
} = await readGolden("expected.json");

const SPEEDS: readonly Speed[] = [1, 2, 5, "auto", ""];
/** Rows of the embedding matrix of the models that use them. */
const TABLE_ROWS: Readonly<Record<string, number>> = {
  "llama3.2": 128256,
  "qwen2.5": 151936,
  "deepseek-r1-distill-qwen": 151936,
  "gpt2": 50257,
  "smollm2": 49152,
};

function segmentsOf(tokenizer: Encoder, row: number): number[][] {
  const { question, steps, answer } = ROWS[row];
  const speed = SPEEDS[row % SPEEDS.length];
  return [
    questionIds(tokenizer, question, speed),
    promptIds(tokenizer, question, speed),
    colarStepsIds(tokenizer, steps),
    cotStepsIds(tokenizer, steps),
    remainingStepsIds(tokenizer, steps, true),
    answerIds(tokenizer, answer),
    colarAnswerIds(tokenizer, answer),
  ];
}

/** The same tokenizer, which keeps `###` a token of its own. */
function aloneIn(tokenizer: Tokenizer): Encoder {
  const encode = (text: string) => tokenizer.encode(text);
  return { encode, eosToken: tokenizer.eosToken, separatorTokens: "alone" };
}

function checkTokenizer(tokenizer: Tokenizer, name: string, rows: readonly number[]) {
  const { eos_token, eos_id, pad_id, separator_id, row_checksums, texts } = EXPECTED.families[name];
  assert.deepEqual(
    [tokenizer.eosToken, tokenizer.eosId, tokenizer.padId, tokenizer.separatorId],
    [eos_token, eos_id, pad_id, separator_id],
  );
  assert.equal(
    tokenizer.padRow(TABLE_ROWS[name]),
    TABLE_ROWS[name] === pad_id ? "new" : "existing",
  );
  EXPECTED.texts.forEach((text, i) => {
    const { ids, decoded = text, without_last } = texts[i];
    assert.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
    assert.equal(tokenizer.decode(ids), decoded);
    if (without_last !== undefined) assert.equal(tokenizer.decode(ids.slice(0, -1)), without_last);
  });
  const checksums = row_checksums.split(" ");
  assert.equal(checksums.length, 200);
  for (const row of rows) {
    const segments = segmentsOf(tokenizer, row);
    const sum = createHash("sha256").update(JSON.stringify(segments)).digest("hex").slice(0, 8);
    assert.equal(sum, checksums[row], `${name}, row ${row}: ${JSON.stringify(ROWS[row])}`);
    const [, prompt, steps, , remaining, , answer] = segments;
    const ends = [prompt.at(-1), remaining.at(-1), answer[0], answer.at(-1)];
    assert.deepEqual(ends, [separator_id, separator_id, separator_id, eos_id], `row ${row}`);
    // GSM-Hard's programs begin with a line break, and `###\n` is one token of these; `######` without steps.
    const merges = !["gpt2", "smollm2"].includes(name);
    const isProgram = ROWS[row].steps[0].startsWith("\n");
    assert.equal(steps[0] === separator_id, !(merges && isProgram), `row ${row}`);
    const hasNone = ROWS[row].steps.join("") === "";
    const alone = segmentsOf(aloneIn(tokenizer), row);
    assert.deepEqual([alone[2][0], alone[3][0], alone[3].at(-1)], Array(3).fill(separator_id));
    if (hasNone || isProgram) continue;
    assert.deepEqual(alone, segments, `row ${row}: ### alone changes nothing else`);
  }
}

for (const name of ["gpt2", "smollm2", "qwen2.5"]) {
  Deno.test(`tokenizer families: ${name}, an excerpt, gives the library's ids and texts`, async () => {
    const tokenizer = await loadTokenizer(new URL(name, GOLDEN).pathname, "as-released");
    checkTokenizer(tokenizer, name, EXPECTED.rows_of_excerpts);
  });
}

for (const name of Object.keys(EXPECTED.families)) {
  Deno.test(`tokenizer families: ${name}, whole, gives the library's ids of 200 rows`, async () => {
    const folder = await folderOf(name);
    if (folder === undefined) {
      const variable = name === "smollm2" ? "SMOLLM2_DIR" : "TOKENIZERS_DIR";
      return console.log(`  skipped: ${variable} names no folder with ${name}'s tokenizer.json`);
    }
    checkTokenizer(await loadTokenizer(folder, "as-released"), name, ROWS.map((_, row) => row));
  });
}

async function folderOf(name: string): Promise<string | undefined> {
  const top = await realFolder("TOKENIZERS_DIR", "tokenizers");
  const folders = top === undefined
    ? []
    : ["", "-derived", "-built"].map((suffix) => join(top, name + suffix));
  const real = environment("SMOLLM2_DIR");
  if (name === "smollm2" && real !== undefined) folders.push(real);
  for (const folder of folders) {
    if (await Deno.stat(join(folder, "tokenizer.json")).catch(() => undefined)) return folder;
  }
  return undefined;
}
