/**
 * `key=value` arguments: a bare key sets every key of that name, a dotted path sets one.
 *
 * As in run.py of xiaomi-research/colar, lines 57-76, except: a value is YAML and keeps its case, it may hold `=`, and
 * an unknown key, a group of keys or a wrong type is an error.
 */
import { checked, type Kind, type Value } from "./config_kinds.ts";
import { FOLLOWS_PROFILE, isSwitch } from "./config_profile.ts";
import { ALIASES } from "./config_schema.ts";
import { type Keys, keysBelow, nameOf, parseYaml, unknownKey, type Values } from "./config_tree.ts";

/** What an argument did: the paths of the keys that it set. */
export interface Setting {
  readonly argument: string;
  readonly paths: readonly string[];
}

/**
 * Sets the keys that an argument names.
 * @param argument `key=value` or `dotted.path=value`
 * @returns the paths that were set
 * @throws {SyntaxError} without `=` or for a value that is no YAML, {RangeError} for an unknown key or a value out of
 * range, {TypeError} for a value of another type.
 */
export function applyArgument(values: Values, keys: Keys, argument: string): Setting {
  const at = argument.indexOf("=");
  if (at < 1) {
    throw new SyntaxError(`Argument '${argument}' must be key=value, as in batch_size=8`);
  }
  const key = argument.slice(0, at).trim();
  const paths = pathsOf(key, keys);
  for (const path of paths) {
    values.set(path, valueFor(nameOf(path), keys.get(path)!, argument.slice(at + 1)));
  }
  return { argument, paths };
}

/**
 * A value that a key of a file or of an argument may have: its kind's, or `profile` for a switch.
 * @throws {TypeError | RangeError} as `checked` does.
 */
export function checkedSetting(name: string, kind: Kind, value: unknown): Value {
  return isSwitch(kind) && value === FOLLOWS_PROFILE ? value : checked(name, kind, value);
}

function pathsOf(key: string, keys: Keys): string[] {
  const name = nameOf(key);
  const known = Object.hasOwn(ALIASES, name)
    ? key.slice(0, key.length - name.length) + ALIASES[name]
    : key;
  const paths = [...keys.keys()];
  const found = known.includes(".")
    ? paths.filter((path) => path === known)
    : paths.filter((path) => nameOf(path) === known);
  if (found.length > 0) return found;
  const below = keysBelow(known, keys);
  if (below.length > 0) {
    throw new TypeError(`'${key}' is a group of keys; set them one by one, as in ${below[0]}=...`);
  }
  throw unknownKey(key, keys);
}

/** A value from its text: YAML, `None` for null as published, and text as written where a key takes any text. */
function valueFor(name: string, kind: Kind, text: string): Value {
  const parsed = parseYaml(text, `The value of ${name}=${text}`);
  const isScalar = typeof parsed === "number" || typeof parsed === "boolean" || text === "";
  if (kind.anyText && isScalar) return text.trim();
  const value = parsed === "None" && kind.types.includes("null") ? null : parsed;
  return checkedSetting(name, kind, value);
}
