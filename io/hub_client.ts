/**
 * Requests to the Hub: the token, waiting where it asks for that, and one line for each way in which it refuses.
 *
 * `ask` of {@link HubClient} is handed to `@huggingface/hub`, so that its requests follow the same rules. The token goes to
 * the Hub's own address and never along with a redirect to a storage elsewhere. The package cannot do this itself: it
 * takes no token but those that begin with hf_, which a mirror's need not, and neither waits nor tries again.
 */
import { reasonOf } from "./atomic.ts";
import { duration } from "./progress.ts";
import type { HubSettings } from "./hub_settings.ts";

/** What a client is made of; tests replace the parts. */
export interface HubClientOptions {
  readonly settings: HubSettings;
  /** What messages call the repository, such as `model owner/name@main`. */
  readonly subject: string;
  readonly signal?: AbortSignal;
  /** Says why something takes long. @default {nothing is said} */
  readonly say?: (line: string) => void;
  /** Waits. @default {a timer that the signal ends} */
  readonly sleep?: (ms: number) => Promise<void>;
  /** How long a server may be silent, in milliseconds. @default {60000} */
  readonly silenceMs?: number;
}

const ATTEMPTS = 4;
const LONGEST_WAIT_S = 300; // the Hub counts requests in windows of five minutes
const LONGEST_ANSWER = 1 << 26; // characters; a page of a list has some 10^5
const LONGEST_MESSAGE = 1 << 16;
const MAX_REDIRECTS = 5;
const PASSING = [500, 502, 503, 504];

/** Asks the Hub, as one user and about one repository. */
export class HubClient {
  readonly settings: HubSettings;
  readonly subject: string;
  readonly signal: AbortSignal | undefined;
  readonly silenceMs: number;
  readonly #say: (line: string) => void;
  readonly #sleep: (ms: number) => Promise<void>;

  constructor({ settings, subject, signal, say, sleep, silenceMs = 60_000 }: HubClientOptions) {
    this.settings = settings;
    this.subject = subject;
    this.signal = signal;
    this.silenceMs = silenceMs;
    this.#say = say ?? (() => {});
    this.#sleep = sleep ?? ((ms) => timer(ms, signal));
  }

  /** The Hub's name in messages. */
  get host(): string {
    return new URL(this.settings.endpoint).host;
  }

  /**
   * As `fetch`, but a response that is no success is thrown.
   * @throws {RangeError} where the user can mend what the Hub refuses, {Error} with its cause where it cannot be reached or
   * is busy for too long, the signal's reason when it is aborted.
   */
  readonly fetch: typeof fetch = async (input, init) => {
    const request = { url: String(input instanceof Request ? input.url : input), init: init ?? {} };
    const isRead = /^(GET|HEAD)$/.test(request.init.method ?? "GET");
    for (let attempt = 1;; attempt++) {
      const answer = await this.#follow(request.url, request.init).catch((error: unknown) => error);
      const isLast = attempt === ATTEMPTS;
      if (!(answer instanceof Response)) {
        this.signal?.throwIfAborted();
        // What was sent may have arrived, so only questions are asked again.
        if (isLast || !isRead || !(answer instanceof TypeError)) throw this.unreachable(answer);
        await this.pause(attempt, `cannot reach ${this.host} (${reasonOf(answer)})`);
        continue;
      }
      if (answer.ok) return answer;
      const wait = waitOf(answer.headers);
      const isBusy = answer.status === 429 || isRead && PASSING.includes(answer.status);
      if (!isBusy || isLast || (wait ?? 0) > LONGEST_WAIT_S) {
        throw await this.#refusal(answer, wait);
      }
      await answer.body?.cancel();
      await this.pause(attempt, `${this.host} answers ${answer.status}`, wait);
    }
  };

  /**
   * As {@link HubClient.fetch}, for a short text, which is here whole when this returns.
   * @throws {Error} with its cause when it breaks off, is silent for too long or does not end.
   */
  readonly ask: typeof fetch = async (input, init) => {
    const { body, status, headers } = await this.fetch(input, init);
    try {
      const text = await contentOf(body, this.silenceMs, LONGEST_ANSWER);
      return new Response(text || null, { status, headers });
    } catch (cause) {
      this.signal?.throwIfAborted();
      throw new Error(
        `${this.subject}: ${this.host} breaks off its answer (${reasonOf(cause)}); run again later`,
        { cause },
      );
    }
  };

  /** Waits as long as was asked for, or twice as long at each attempt from 1, and says so. */
  async pause(attempt: number, why: string, seconds = 2 ** (attempt - 1)): Promise<void> {
    this.#say(`${why}; trying again in ${seconds} s`);
    await this.#sleep(1000 * seconds);
    this.signal?.throwIfAborted();
  }

  /** The error for a Hub that does not answer. */
  unreachable(cause: unknown): unknown {
    if (cause instanceof Deno.errors.NotCapable || cause instanceof RangeError) return cause;
    const next = "check the connection and HF_ENDPOINT; what is in the cache needs no connection";
    return new Error(
      `${this.subject}: cannot reach ${this.host} (${reasonOf(cause)}); ${next}`,
      { cause },
    );
  }

  /** Goes after redirects itself: `fetch` would take the token along. */
  async #follow(url: string, init: RequestInit): Promise<Response> {
    const { origin } = new URL(this.settings.endpoint);
    for (let redirects = 0;; redirects++) {
      const { protocol } = new URL(url);
      if (!/^https?:$/.test(protocol)) { // `fetch` reads files of this machine too
        throw new RangeError(
          `${this.subject}: ${this.host} leads to a ${protocol} address; check HF_ENDPOINT`,
        );
      }
      const headers = new Headers(init.headers);
      headers.delete("Authorization");
      const { token } = this.settings;
      if (token && new URL(url).origin === origin) headers.set("Authorization", `Bearer ${token}`);
      const response = await this.#ask(url, { ...init, headers, redirect: "manual" });
      const location = response.headers.get("Location");
      if (response.status < 300 || response.status > 399 || !location) return response;
      await response.body?.cancel();
      if (redirects === MAX_REDIRECTS) {
        throw new RangeError(
          `${this.subject}: ${this.host} redirects without end; check HF_ENDPOINT`,
        );
      }
      url = new URL(location, url).href;
    }
  }

  /** One request, given up when no answer begins in time or the work is interrupted. */
  async #ask(url: string, init: RequestInit): Promise<Response> {
    const given = [init.signal, this.signal].filter((signal) => signal instanceof AbortSignal);
    const controller = new AbortController();
    const reason = new TypeError(`no answer in ${this.silenceMs / 1000} s`);
    // A body may take long to send, and only the server's silence counts.
    const clock = init.body
      ? undefined
      : setTimeout(() => controller.abort(reason), this.silenceMs);
    try {
      return await fetch(url, { ...init, signal: AbortSignal.any([...given, controller.signal]) });
    } finally {
      clearTimeout(clock);
    }
  }

  async #refusal(response: Response, wait: number | undefined): Promise<Error> {
    const { status, headers } = response;
    const { token, endpoint } = this.settings;
    const said = headers.get("X-Error-Message") ?? await messageOf(response, this.silenceMs);
    const code = headers.get("X-Error-Code") ?? "";
    const answer = `${this.subject}: ${this.host} answers ${status}`;
    const [name] = this.subject.split(" ").at(-1)!.split("@");
    if (code === "GatedRepo" || status === 403 && /gated|restricted/i.test(said)) {
      const how = token ? "with the account of HF_TOKEN" : "and set HF_TOKEN to your token";
      const page = `${endpoint}/${this.subject.startsWith("dataset ") ? "datasets/" : ""}${name}`;
      return new RangeError(`${answer}, gated; accept its terms at ${page} ${how}`);
    }
    if (status === 401) {
      return new RangeError(
        token
          ? `${answer}: it does not accept the token in HF_TOKEN; set a valid one`
          : `${answer}: private, gated or not there; check the name, or set HF_TOKEN to a token that may read it`,
      );
    }
    if (status === 403) {
      return new RangeError(`${answer}${told(said)}; the token in HF_TOKEN needs that permission`);
    }
    if (status === 404) {
      const what = code === "RevisionNotFound"
        ? "no such revision; name a branch, tag or commit after @"
        : code === "EntryNotFound"
        ? "no such file there; choose another revision after @"
        : `nothing of that name; check it${token ? "" : ", or set HF_TOKEN if it is private"}`;
      return new RangeError(`${answer}, ${what}`);
    }
    const cause = { status, url: response.url };
    if (status === 429) {
      const when = wait === undefined ? "later" : `in ${duration(wait)} (m:ss)`;
      const more = token ? "" : "; with HF_TOKEN more is allowed";
      return new Error(`${answer}, too many requests; run again ${when}${more}`, { cause });
    }
    return new Error(`${answer}${told(said)}; run again later, or check HF_ENDPOINT`, { cause });
  }
}

/** Waits, but no longer than until the signal is aborted. */
function timer(ms: number, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const clock = setTimeout(resolve, ms);
  const onAbort = () => resolve();
  signal?.addEventListener("abort", onAbort);
  return promise.finally(() => {
    clearTimeout(clock);
    signal?.removeEventListener("abort", onAbort);
  });
}

/** Seconds that a response asks to wait: Retry-After as seconds or as a date, else the Hub's `RateLimit: "api";r=0;t=55`. */
function waitOf(headers: Headers): number | undefined {
  const after = headers.get("Retry-After");
  if (after !== null && /^\d+$/.test(after)) return Number(after);
  const date = after === null ? NaN : Date.parse(after);
  if (!Number.isNaN(date)) return Math.max(0, Math.ceil((date - Date.now()) / 1000));
  const limit = /;\s*t=(\d+)/.exec(headers.get("RateLimit") ?? "")?.[1];
  return limit === undefined ? undefined : Number(limit);
}

/** What a refusal says, as far as it is short and comes in time. */
async function messageOf({ body }: Response, silenceMs: number): Promise<string> {
  try {
    return String(JSON.parse(await contentOf(body, silenceMs, LONGEST_MESSAGE)).error ?? "");
  } catch {
    return ""; // a page for people, or cut
  }
}

/** Reads a body as text; throws where it is silent for too long, or longer than `limit` characters. */
async function contentOf(
  body: Response["body"],
  silenceMs: number,
  limit: number,
): Promise<string> {
  if (body === null) return "";
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (;;) {
      let isSilent = false;
      const clock = setTimeout(() => {
        isSilent = true;
        reader.cancel().catch(() => {});
      }, silenceMs);
      const { value, done } = await reader.read().finally(() => clearTimeout(clock));
      if (isSilent) throw new TypeError(`silent for ${silenceMs / 1000} s`);
      if (done) return text + decoder.decode();
      text += decoder.decode(value, { stream: true });
      if (text.length > limit) throw new TypeError(`longer than ${limit} characters`);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** A server's own words, short enough for a line. */
function told(text: string): string {
  const line = text.replace(/[\s\p{Cc}]+/gu, " ").trim().slice(0, 160);
  return line && ` (${line})`;
}
