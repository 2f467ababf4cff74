/**
 * Progress of a long loop: one line that rewrites itself on a terminal, a plain line now and then elsewhere.
 *
 * Own code instead of a package: it takes its clock and its writer, needs no permission, and its plain form is for log
 * files. Rates are over the last 20 seconds, so that the time left follows a change of pace.
 */

/** What a progress display is of, and where it goes. */
export interface ProgressOptions {
  /** What is counted, such as "train". */
  readonly label: string;
  /** How many units there are in all. */
  readonly total: number;
  /** Units done before this run began; they count as done but for no rate. @default {0} */
  readonly start?: number;
  /** Whether units are bytes, shown as MB, with their rate. @default {false} */
  readonly isBytes?: boolean;
  /** Shows nothing at all. @default {false} */
  readonly isQuiet?: boolean;
  /** @default {whether the standard output is a terminal} */
  readonly isTerminal?: boolean;
  /** Width of the terminal in characters. @default {asked at every line} */
  readonly columns?: () => number;
  /** Where text goes. @default {the standard output} */
  readonly write?: (text: string) => void;
  /** Milliseconds; only differences count. @default {performance.now} */
  readonly now?: () => number;
}

/** What an update tells besides the units done. */
export interface ProgressValues {
  /** Tokens computed since the last update. */
  readonly tokens?: number;
  /** Shown by name, such as `loss`. */
  readonly [name: string]: number | undefined;
}

const WINDOW_MS = 20_000;
const TERMINAL_INTERVAL_MS = 100;
const PLAIN_INTERVAL_MS = 10_000;
const BAR_LENGTH = 20;

/** A progress display; disposing of it ends its line. */
export class Progress implements Disposable {
  #options: Required<ProgressOptions>;
  #marks: { time: number; done: number; tokens: number }[];
  #done: number;
  #tokens = 0;
  #values: [string, number][] = [];
  #lastLine = -Infinity;
  #isShown = false;
  #wasLast = false;

  constructor(options: ProgressOptions) {
    const isTerminal = options.isTerminal ?? Deno.stdout.isTerminal();
    this.#options = {
      start: 0,
      isBytes: false,
      isQuiet: false,
      columns: terminalColumns,
      write: writeToStdout,
      now: () => performance.now(),
      ...options,
      isTerminal,
    };
    this.#done = this.#options.start;
    this.#marks = [{ time: this.#options.now(), done: this.#done, tokens: 0 }];
  }

  /**
   * Tells how far the loop is.
   * @param done units done in all, those before `start` included
   */
  update(done: number, { tokens = 0, ...values }: ProgressValues = {}): void {
    const { now, total, isTerminal, isQuiet } = this.#options;
    const time = now();
    this.#done = done;
    this.#tokens += tokens;
    this.#values = Object.entries(values).filter((pair): pair is [string, number] =>
      pair[1] !== undefined
    );
    this.#marks.push({ time, done, tokens: this.#tokens });
    // One mark older than the window stays, so that slow units have a rate too.
    while (this.#marks.length > 2 && time - this.#marks[1].time >= WINDOW_MS) this.#marks.shift();
    if (isQuiet) return;
    const interval = isTerminal ? TERMINAL_INTERVAL_MS : PLAIN_INTERVAL_MS;
    const isLast = done >= total && !this.#wasLast;
    if (time - this.#lastLine < interval && !isLast) return;
    this.#lastLine = time;
    this.#wasLast = done >= total;
    if (isTerminal) this.#draw();
    else this.#options.write(`${this.#text()}\n`);
  }

  /** Prints lines above the display. */
  print(text: string): void {
    const { isTerminal, isQuiet, write } = this.#options;
    if (isQuiet) return;
    const isShown = isTerminal && this.#isShown;
    write(`${isShown ? "\r\x1b[K" : ""}${text}\n`);
    if (isShown) this.#draw();
  }

  /** Shows the last state and ends the line. */
  [Symbol.dispose](): void {
    if (!this.#isShown) return;
    this.#draw();
    this.#options.write("\n");
    this.#isShown = false;
  }

  #draw(): void {
    const { columns, write, total } = this.#options;
    const filled = Math.round(BAR_LENGTH * share(this.#done, total));
    const bar = `[${"=".repeat(filled)}${" ".repeat(BAR_LENGTH - filled)}]`;
    // A line as wide as the terminal would wrap, and the return would go back to its second half only.
    write(`\r${this.#text(bar).slice(0, Math.max(1, columns() - 1))}\x1b[K`);
    this.#isShown = true;
  }

  #text(bar?: string): string {
    const { label, total, isBytes } = this.#options;
    const [first, last] = [this.#marks[0], this.#marks.at(-1)!];
    const seconds = (last.time - first.time) / 1000;
    const tokens = last.tokens - first.tokens;
    const units = last.done - first.done;
    const left = Math.max(0, total - this.#done);
    return [
      isBytes
        ? `${label} ${megabytes(this.#done)}/${megabytes(total)} MB`
        : `${label} ${this.#done}/${total}`,
      ...bar ? [bar] : [],
      `${(100 * share(this.#done, total)).toFixed(0)} %`,
      ...this.#values.map(([name, value]) => `${name} ${number(value)}`),
      ...isBytes && seconds > 0 ? [`${megabytes(units / seconds)} MB/s`] : [],
      ...seconds > 0 && tokens > 0 ? [`${number(tokens / seconds)} tokens/s`] : [],
      ...seconds > 0 && units > 0 ? [`ETA ${duration(left * seconds / units)}`] : [],
    ].join("  ");
  }
}

function share(done: number, total: number): number {
  return total > 0 ? Math.min(1, done / total) : 1;
}

/** Four significant digits, without an exponent where whole digits say more. */
function number(value: number): string {
  if (Math.abs(value) >= 1000 && Math.abs(value) < 1e9) return value.toFixed(0);
  return Number.isInteger(value) ? String(value) : value.toPrecision(4);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

/** A duration as `m:ss` or `h:mm:ss`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const two = (count: number) => String(Math.floor(count)).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0
    ? `${hours}:${two(minutes)}:${two(whole % 60)}`
    : `${minutes}:${two(whole % 60)}`;
}

function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns || 80; // some terminals say 0, some nothing
  } catch {
    return 80;
  }
}

function writeToStdout(text: string): void {
  const bytes = new TextEncoder().encode(text);
  try {
    for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
  } catch (error) {
    // A reader that went away (`| head`) must not end the run.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
