/**
 * Reads Python's pickle without executing anything: a stack machine that builds numbers, text, lists, maps and sets.
 *
 * A pickle may name any function or class of Python and call it, which is how a hostile one runs code. Here a name is
 * looked up in a caller's list; a name that is not there is refused, and a name that is there means what the list says:
 * a function of ours, or a class whose objects are kept as plain records. Lists and tuples become arrays, dicts Maps,
 * sets Sets, bytes Uint8Arrays, integers beyond 2^53 bigints. Protocols 2 to 5, which torch.save writes.
 *
 * Source: https://docs.python.org/3/library/pickletools.html, the opcodes of Lib/pickletools.py.
 */
import { malformed, quote } from "./safetensors_header.ts";

/** What a pickle's call of an allowed name gives. */
export type Build = (args: readonly unknown[]) => unknown;

/** A name of Python that a pickle may use: a function, or a class whose objects stay plain records. */
export class PickleGlobal {
  /** @param build what a call gives; without one it is a class, or a constant */
  constructor(readonly name: string, readonly build?: Build) {}
}

/** An object of an allowed class, as the pickle describes it. */
export class PickleObject {
  /** What `__setstate__` would be given. */
  state: unknown;
  /** Items, for a class that is a dict. */
  readonly items = new Map<unknown, unknown>();

  constructor(readonly type: PickleGlobal, readonly args: readonly unknown[]) {}
}

/** What a pickle may name. */
export interface PickleRules {
  /** Allowed names, `collections.OrderedDict`; any other is refused. */
  readonly globals: ReadonlyMap<string, PickleGlobal>;
  /** What stands for something outside of the pickle, such as a storage. */
  readonly persistent: (id: unknown) => unknown;
}

/**
 * Reads one value.
 * @param file what messages call it
 * @throws {SyntaxError} when it is torn, names something that is not allowed, or is of protocol 0 or 1.
 */
export function readPickle(
  bytes: Uint8Array<ArrayBuffer>,
  file: string,
  rules: PickleRules,
): unknown {
  return new Machine(bytes, file, rules).run();
}

const MARK = Symbol("mark");
const text = new TextDecoder("utf-8", { fatal: true });

class Machine {
  #at = 0;
  #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();
  readonly #view: DataView;

  constructor(
    readonly bytes: Uint8Array<ArrayBuffer>,
    readonly file: string,
    readonly rules: PickleRules,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): unknown {
    const { bytes } = this;
    if (bytes[0] !== 0x80 || bytes[1] < 2 || bytes[1] > 5) {
      throw malformed(this.file, "no pickle of protocol 2 to 5; save it with torch.save");
    }
    for (;;) {
      const code = this.#take(1)[0];
      if (code === 0x2e) return this.#pop(); // STOP
      const step = STEPS.get(code);
      if (!step) {
        const where = `byte ${this.#at - 1}`;
        throw malformed(this.file, `opcode 0x${code.toString(16)} at ${where} is not supported`);
      }
      step(this);
    }
  }

  #take(count: number): Uint8Array<ArrayBuffer> {
    if (!(count >= 0) || this.#at + count > this.bytes.length) {
      throw malformed(
        this.file,
        `torn: ${this.bytes.length} bytes end within a value; copy or fetch it again`,
      );
    }
    this.#at += count;
    return this.bytes.subarray(this.#at - count, this.#at);
  }

  #pop(): unknown {
    if (this.#stack.length === 0 || this.#stack.at(-1) === MARK) {
      throw malformed(this.file, `malformed: nothing to take at byte ${this.#at}`);
    }
    return this.#stack.pop();
  }

  push(value: unknown): void {
    this.#stack.push(value);
  }

  /** Drops the top, whatever it is. */
  drop(): void {
    this.#stack.pop();
  }

  duplicate(): void {
    const top = this.#pop();
    this.#stack.push(top, top);
  }

  mark(): void {
    this.#stack.push(MARK);
  }

  /** Everything above the last mark, which goes too. */
  popMark(): unknown[] {
    const at = this.#stack.lastIndexOf(MARK);
    if (at < 0) throw malformed(this.file, `malformed: no mark before byte ${this.#at}`);
    return this.#stack.splice(at).slice(1);
  }

  popSome(count: number): unknown[] {
    return Array.from({ length: count }, () => this.#pop()).reverse();
  }

  /** An unsigned number of 1, 2, 4 or 8 bytes. */
  unsigned(size: 1 | 2 | 4 | 8): number {
    const at = this.#at;
    this.#take(size);
    if (size === 1) return this.bytes[at];
    if (size === 2) return this.#view.getUint16(at, true);
    if (size === 4) return this.#view.getUint32(at, true);
    return Number(this.#view.getBigUint64(at, true));
  }

  int32(): number {
    this.#take(4);
    return this.#view.getInt32(this.#at - 4, true);
  }

  float64(): number {
    this.#take(8);
    return this.#view.getFloat64(this.#at - 8, false); // the one big-endian number of the format
  }

  /** A two's complement integer of `size` bytes, little-endian. */
  long(size: number): number | bigint {
    if (size > 1024) {
      throw malformed(this.file, `an integer of ${size} bytes; torn: copy or fetch it again`);
    }
    const digits = this.#take(size);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = value << 8n | BigInt(digits[i]);
    if (size > 0 && digits[size - 1] > 127) value -= 1n << BigInt(8 * size);
    const small = Number(value);
    return Number.isSafeInteger(small) ? small : value;
  }

  text(size: number): string {
    const bytes = this.#take(size);
    try {
      return text.decode(bytes);
    } catch {
      throw malformed(this.file, `text at byte ${this.#at - size} is not UTF-8`);
    }
  }

  data(size: number): Uint8Array<ArrayBuffer> {
    return this.#take(size).slice();
  }

  line(): string {
    const end = this.bytes.indexOf(10, this.#at);
    const line = this.text(Math.max(0, end - this.#at));
    this.#take(1);
    return line;
  }

  put(index: number): void {
    const top = this.#pop();
    this.#memo.set(index, top);
    this.#stack.push(top);
  }

  memoize(): void {
    this.put(this.#memo.size);
  }

  get(index: number): void {
    if (!this.#memo.has(index)) throw malformed(this.file, `malformed: no memo ${index}`);
    this.#stack.push(this.#memo.get(index));
  }

  append(values: readonly unknown[]): void {
    const list = this.#top();
    if (Array.isArray(list)) { for (const value of values) list.push(value); }
    else throw malformed(this.file, `malformed: items for what is no list at byte ${this.#at}`);
  }

  addItems(values: readonly unknown[]): void {
    const set = this.#top();
    if (!(set instanceof Set)) throw malformed(this.file, "malformed: items for what is no set");
    for (const value of values) set.add(value);
  }

  setItems(values: readonly unknown[]): void {
    const top = this.#top();
    const map = top instanceof PickleObject ? top.items : top;
    if (!(map instanceof Map) || values.length % 2 !== 0) {
      throw malformed(this.file, `malformed: items for what is no dict at byte ${this.#at}`);
    }
    for (let i = 0; i < values.length; i += 2) map.set(values[i], values[i + 1]);
  }

  /** Looks a name up; anything that the rules do not list is refused by name. */
  global(module: unknown, name: unknown): void {
    const full = `${module}.${name}`;
    const found = this.rules.globals.get(full);
    if (!found) {
      throw malformed(
        this.file,
        `names ${quote(full)}, which is not allowed: a pickle could run it; ` +
          "save the tensors alone, torch.save({'state_dict': ...})",
      );
    }
    this.push(found);
  }

  reduce(): void {
    const [callable, args] = this.popSome(2);
    if (!(callable instanceof PickleGlobal) || !callable.build || !Array.isArray(args)) {
      const what = callable instanceof PickleGlobal ? quote(callable.name) : "a value";
      throw malformed(this.file, `calls ${what}, which is not allowed`);
    }
    this.push(callable.build(args));
  }

  newObject(args: unknown, type: unknown): void {
    if (!(type instanceof PickleGlobal) || !Array.isArray(args)) {
      throw malformed(this.file, `malformed: an object of no class at byte ${this.#at}`);
    }
    this.push(type.build ? type.build(args) : new PickleObject(type, args));
  }

  /** Attributes of an object; those of a dict or a tensor change nothing that is read. */
  build(): void {
    const state = this.#pop();
    const top = this.#top();
    if (top instanceof PickleObject) top.state = state;
  }

  persistent(): void {
    this.push(this.rules.persistent(this.#pop()));
  }

  #top(): unknown {
    const top = this.#pop();
    this.#stack.push(top);
    return top;
  }
}

function mapOf(machine: Machine): void {
  const values = machine.popMark();
  machine.push(new Map());
  machine.setItems(values);
}

const STEPS = new Map<number, (m: Machine) => void>([
  [0x80, (m) => m.unsigned(1)], // PROTO
  [0x95, (m) => m.unsigned(8)], // FRAME
  [0x28, (m) => m.mark()], // MARK
  [0x30, (m) => m.drop()], // POP
  [0x31, (m) => m.popMark()], // POP_MARK
  [0x32, (m) => m.duplicate()], // DUP
  [0x4e, (m) => m.push(null)], // NONE
  [0x88, (m) => m.push(true)], // NEWTRUE
  [0x89, (m) => m.push(false)], // NEWFALSE
  [0x4a, (m) => m.push(m.int32())], // BININT
  [0x4b, (m) => m.push(m.unsigned(1))], // BININT1
  [0x4d, (m) => m.push(m.unsigned(2))], // BININT2
  [0x8a, (m) => m.push(m.long(m.unsigned(1)))], // LONG1
  [0x8b, (m) => m.push(m.long(m.unsigned(4)))], // LONG4
  [0x47, (m) => m.push(m.float64())], // BINFLOAT
  [0x58, (m) => m.push(m.text(m.unsigned(4)))], // BINUNICODE
  [0x8c, (m) => m.push(m.text(m.unsigned(1)))], // SHORT_BINUNICODE
  [0x8d, (m) => m.push(m.text(m.unsigned(8)))], // BINUNICODE8
  [0x42, (m) => m.push(m.data(m.unsigned(4)))], // BINBYTES
  [0x43, (m) => m.push(m.data(m.unsigned(1)))], // SHORT_BINBYTES
  [0x8e, (m) => m.push(m.data(m.unsigned(8)))], // BINBYTES8
  [0x5d, (m) => m.push([])], // EMPTY_LIST
  [0x29, (m) => m.push([])], // EMPTY_TUPLE
  [0x7d, (m) => m.push(new Map())], // EMPTY_DICT
  [0x8f, (m) => m.push(new Set())], // EMPTY_SET
  [0x61, (m) => m.append(m.popSome(1))], // APPEND
  [0x65, (m) => m.append(m.popMark())], // APPENDS
  [0x6c, (m) => m.push(m.popMark())], // LIST
  [0x74, (m) => m.push(m.popMark())], // TUPLE
  [0x85, (m) => m.push(m.popSome(1))], // TUPLE1
  [0x86, (m) => m.push(m.popSome(2))], // TUPLE2
  [0x87, (m) => m.push(m.popSome(3))], // TUPLE3
  [0x64, mapOf], // DICT
  [0x73, (m) => m.setItems(m.popSome(2))], // SETITEM
  [0x75, (m) => m.setItems(m.popMark())], // SETITEMS
  [0x90, (m) => m.addItems(m.popMark())], // ADDITEMS
  [0x91, (m) => m.push(new Set(m.popMark()))], // FROZENSET
  [0x68, (m) => m.get(m.unsigned(1))], // BINGET
  [0x6a, (m) => m.get(m.unsigned(4))], // LONG_BINGET
  [0x71, (m) => m.put(m.unsigned(1))], // BINPUT
  [0x72, (m) => m.put(m.unsigned(4))], // LONG_BINPUT
  [0x94, (m) => m.memoize()], // MEMOIZE
  [0x63, (m) => m.global(m.line(), m.line())], // GLOBAL
  [0x93, (m) => {
    const [module, name] = m.popSome(2);
    m.global(module, name);
  }], // STACK_GLOBAL
  [0x52, (m) => m.reduce()], // REDUCE
  [0x81, (m) => {
    const [type, args] = m.popSome(2);
    m.newObject(args, type);
  }], // NEWOBJ
  [0x62, (m) => m.build()], // BUILD
  [0x51, (m) => m.persistent()], // BINPERSID
]);
