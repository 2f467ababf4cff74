/**
 * What values a configuration key takes: kinds that check a value and word the rule it breaks.
 *
 * A schema is a tree of kinds; `Infer` gives the TypeScript type of a configuration that keeps it, so that the checks
 * at run time and the types of the program cannot drift apart.
 */

/** A value of a configuration key. */
export type Value = null | boolean | number | string | readonly Value[] | NumbersByName;

/** A mapping of names to numbers, which is one value. */
export interface NumbersByName {
  readonly [name: string]: number;
}

/** The values that a key takes. */
export interface Kind<T extends Value = Value> {
  /** Completes "KEY must be ...". */
  readonly rule: string;
  /** JavaScript's types (`null` and `list` besides) among which this kind's values are. */
  readonly types: readonly string[];
  /** Whether any text is a value, so that `007` is the text 007. */
  readonly anyText?: boolean;
  /** What a configuration means that was saved before there was this key. */
  readonly before?: T;
  readonly accepts: (value: unknown) => value is T;
}

/** A tree of kinds: the keys that a configuration has, and no others. */
export interface Schema {
  readonly [key: string]: Kind | Schema;
}

/** The type of a configuration that keeps a schema. */
export type Infer<S> = S extends Kind<infer T> ? T
  : { readonly [K in keyof S]: Infer<S[K]> };

/** True or false. */
export const boolean: Kind<boolean> = {
  rule: "True or False",
  types: ["boolean"],
  accepts: (value): value is boolean => typeof value === "boolean",
};

/** Any text. */
export const text: Kind<string> = {
  rule: "text",
  types: ["string"],
  anyText: true,
  accepts: (value): value is string => typeof value === "string",
};

/** Only null, which says that something is off or unlimited. */
export const nothing: Kind<null> = {
  rule: "null",
  types: ["null"],
  accepts: (value): value is null => value === null,
};

/** A whole number of at least `from`. */
export function integer(from: number): Kind<number> {
  return {
    rule: `an integer from ${from}`,
    types: ["number"],
    accepts: (value): value is number => Number.isSafeInteger(value) && (value as number) >= from,
  };
}

/** A finite number within bounds, of which `above` and `below` are excluded. */
export function number(
  bounds: { above?: number; from?: number; to?: number; below?: number } = {},
): Kind<number> {
  const { above = -Infinity, from = -Infinity, to = Infinity, below = Infinity } = bounds;
  const words = { above: "above", from: "at least", to: "at most", below: "below" };
  const parts = (["above", "from", "to", "below"] as const)
    .filter((bound) => bounds[bound] !== undefined)
    .map((bound) => `${words[bound]} ${bounds[bound]}`);
  return {
    rule: ["a number", parts.join(" and ")].filter((part) => part).join(" "),
    types: ["number"],
    accepts: (value): value is number =>
      Number.isFinite(value) && (value as number) > above && (value as number) >= from &&
      (value as number) <= to && (value as number) < below,
  };
}

/** One of some words. */
export function oneOf<const T extends string>(...words: T[]): Kind<T> {
  return {
    rule: inWords(words),
    types: ["string"],
    accepts: (value): value is T => words.some((word) => word === value),
  };
}

/** A list, not empty, of values of one kind. */
export function list<T extends Value>(kind: Kind<T>): Kind<readonly T[]> {
  return {
    rule: `a list of ${kind.rule}`,
    types: ["list"],
    accepts: (value): value is readonly T[] =>
      Array.isArray(value) && value.length > 0 && value.every((item) => kind.accepts(item)),
  };
}

/** Numbers above 0 by name, `{"q_proj": 8}`; may be empty. */
export const numbersByName: Kind<NumbersByName> = {
  rule: 'numbers above 0 by name, as in {"q_proj": 8}',
  types: ["object"],
  accepts: (value): value is NumbersByName =>
    typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((item) => Number.isFinite(item) && item > 0),
};

/** A kind of a key that came later: what a configuration from before means. */
export function since<T extends Value>(kind: Kind<T>, before: T): Kind<T> {
  return { ...kind, before };
}

/** Any of two or three kinds. */
export function either<A extends Value, B extends Value, C extends Value = never>(
  ...kinds: [Kind<A>, Kind<B>, Kind<C>?]
): Kind<A | B | C> {
  const all = kinds.filter((kind) => kind !== undefined);
  return {
    rule: inWords(all.map((kind) => kind.rule)),
    types: all.flatMap((kind) => kind.types),
    anyText: all.some((kind) => kind.anyText),
    accepts: (value): value is A | B | C => all.some((kind) => kind.accepts(value)),
  };
}

/** Whole numbers parted by commas, `1,3,5`, as published command lines write a list. */
export const commaList: Kind<string> = {
  rule: "integers from 1 as in 1,3,5",
  types: ["string"],
  accepts: (value): value is string =>
    typeof value === "string" && /^\s*[1-9]\d{0,8}\s*(,\s*[1-9]\d{0,8}\s*)+$/.test(value),
};

/** Thinking speeds parted by commas, numbers above 0 or auto: `1.5,auto`. */
export const speedList: Kind<string> = {
  rule: "numbers above 0 or auto as in 1.5,auto",
  types: ["string"],
  accepts: (value): value is string => {
    const parts = typeof value === "string" ? value.split(",").map((part) => part.trim()) : [];
    return parts.length > 1 &&
      parts.every((part) =>
        part === "auto" || /^\d{1,9}(\.\d{1,9})?$/.test(part) && Number(part) > 0
      );
  },
};

/**
 * A value that its key takes, or the reason why not.
 * @param name the key, as the message names it
 * @throws {TypeError} for another type, {RangeError} for a value of the right type that breaks the rule.
 */
export function checked<T extends Value>(name: string, kind: Kind<T>, value: unknown): T {
  if (kind.accepts(value)) return value;
  const message = `${name} must be ${kind.rule}, got ${shown(value)}`;
  throw kind.types.includes(typeName(value)) ? new RangeError(message) : new TypeError(message);
}

/** A value as messages show it: text in quotes, the rest as JSON. */
export function shown(value: unknown): string {
  if (typeof value === "string") return `'${value}'`;
  return typeof value === "number" ? String(value) : JSON.stringify(value) ?? "nothing";
}

/** Whether a node of a schema is a key's kind rather than a group. */
export function isKind(node: Kind | Schema): node is Kind {
  return typeof node.accepts === "function";
}

/** Joins words as a sentence does: a, b or c. */
function inWords(words: readonly string[]): string {
  if (words.length < 2) return words.join();
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "list" : typeof value;
}
