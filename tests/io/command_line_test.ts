/** Parsing by a table of options, and which errors are told in a line. */
import assert from "node:assert/strict";
import { type CommandTable, helpText, parseCommand } from "../../io/command_line.ts";
import { userMessage } from "../../io/user_error.ts";

const table: CommandTable = {
  help: "plays",
  options: { tempo: { value: "N", help: "beats" }, loud: { help: "as it says" } },
  takesSettings: true,
};

Deno.test("command line: options, flags and settings in any order", () => {
  const given = parseCommand("play", table, [
    "a=1",
    "--tempo=3",
    "--loud",
    "b=x=y",
    "--tempo",
    "4",
  ]);
  assert.deepEqual(given, {
    text: { tempo: "4" },
    flags: new Set(["loud"]),
    settings: ["a=1", "b=x=y"],
  });
});

const mistakes: [string[], string][] = [
  [["--temo=3"], "Unknown option '--temo' (did you mean '--tempo'?)"],
  [["--constructor"], "Unknown option '--constructor' (there is: --tempo, --loud)"],
  [["--tempo"], "--tempo needs a value, as in --tempo=N"],
  [["--loud=yes"], "--loud takes no value, got 'yes'"],
];
for (const [args, message] of mistakes) {
  Deno.test(`command line: ${args.join(" ")} is refused`, () => {
    assert.throws(() => parseCommand("play", table, args), { name: "RangeError", message });
  });
}

Deno.test("command line: a command without settings refuses them", () => {
  assert.throws(() => parseCommand("play", { ...table, takesSettings: false }, ["a=1"]), {
    message: "play takes options only, got 'a=1'; see --help",
  });
});

Deno.test("command line: a command that takes paths gets them in order, and help names them", () => {
  const paths: CommandTable = { help: "reads", options: {}, takesPaths: "RUN" };
  assert.deepEqual(parseCommand("read", paths, ["b", "a/c"]).settings, ["b", "a/c"]);
  assert.match(helpText({ read: paths }), /\n {2}read \[options\] RUN \.\.\. +reads\n/);
});

Deno.test("command line: help lists every option of the table", () => {
  assert.equal(
    helpText({ play: table }).replace(/ {3,}/g, " ~ "),
    [
      "Usage: main.ts COMMAND",
      "",
      "  play [options] [key=value ...] ~ plays",
      " ~ --tempo=N ~ beats",
      " ~ --loud ~ as it says",
      "",
      "  --help",
    ].join("\n"),
  );
});

const errors: [string, () => unknown, string | undefined][] = [
  [
    "a value out of range",
    () => new RangeError("lr must be above 0, got 0"),
    "lr must be above 0, got 0",
  ],
  ["text over lines", () => new SyntaxError("a\n  b"), "a b"],
  ["a refusal of the system", () => new Deno.errors.PermissionDenied("no"), "no"],
  [
    "a folder of the system's, for which Deno wants every right",
    () =>
      new Deno.errors.NotCapable(
        'Requires all access to "/proc/x", run again with the --allow-all flag',
      ),
    '"/proc/x" is the system\'s, not a place for files; name a file or folder elsewhere',
  ],
  ["what io wraps", () => new Error("cannot save", { cause: new Error("full") }), "cannot save"],
  ["the device", () => new Error("GPU: out of memory"), "GPU: out of memory"],
  ["any other error", () => new Error("broken"), undefined],
  ["no error at all", () => "broken", undefined],
  // Faults of a program, as V8 words them.
  ["a missing method", () => caught((x) => (x as { a(): void }).a()), undefined],
  ["a property of nothing", () => caught(() => (undefined as unknown as { a: 1 }).a), undefined],
  ["a length below 0", () => caught(() => new Array(-1)), undefined],
  ["a loop over no list", () => caught((x) => [...x as Iterable<number>]), undefined],
];
for (const [name, make, message] of errors) {
  Deno.test(`errors: ${name} ${message === undefined ? "keeps its stack" : "is a line"}`, () => {
    assert.equal(userMessage(make()), message);
  });
}

function caught(work: (x: unknown) => unknown): unknown {
  try {
    return work({});
  } catch (error) {
    return error;
  }
}
