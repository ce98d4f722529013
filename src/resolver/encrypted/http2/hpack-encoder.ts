import type { FrameWriter } from './frame-writer.ts';
import { MAX_TABLE_BYTES } from './hpack-decoder.ts';
import { STATIC_TABLE } from './static-table.ts';

/** Names that responses use, by their index in the static table. */
export const RESPONSE_FIELD = { ALLOW: 22, CACHE_CONTROL: 24, CONTENT_LENGTH: 28, CONTENT_TYPE: 31 } as const;
export type ResponseFieldName = (typeof RESPONSE_FIELD)[keyof typeof RESPONSE_FIELD];
/** Fields of a response; values are ASCII, at most `MAX_VALUE_LENGTH` characters. */
export type ResponseFields = readonly (readonly [name: ResponseFieldName, value: string])[];

/** Longest value: its length fits one octet. */
export const MAX_VALUE_LENGTH = 126;
/** Octets that a field takes besides its value, and that may precede the first: a status and two table sizes. */
export const FIELD_BYTES = 6;
export const BLOCK_OVERHEAD_BYTES = 16;

const FIELD_OVERHEAD_BYTES = 32;
const STATUS_INDEX = 8;
/** Statuses with an index of their own. */
const STATUS_INDEXES = new Map(
  STATIC_TABLE.flatMap(({ name, value }, at): [number, number][] =>
    name === ':status' ? [[Number(value), at + 1]] : [],
  ),
);

/** A field in the dynamic table. */
interface Kept {
  name: ResponseFieldName;
  value: string;
}

/**
 * Encodes the header blocks of one connection's responses (RFC 7541). Fields repeat from answer to answer, so each is put into
 * the dynamic table once and is one octet or two from then on.
 */
export class HpackEncoder {
  /** Insertions so far, and for what is in the table the insertion that brought it, by name and value. */
  #inserted = 0;
  readonly #insertions = new Map<ResponseFieldName, Map<string, number>>();
  /** What is in the table, the oldest first. */
  readonly #kept: Kept[] = [];
  #sizeBytes = 0;
  #maxBytes = MAX_TABLE_BYTES;
  /** Table sizes to tell: the smallest since the last block, and the one that holds now. */
  #smallestBytes = MAX_TABLE_BYTES;
  #toldBytes = MAX_TABLE_BYTES;

  /** Uses a table of at most so many octets: what the peer's SETTINGS_HEADER_TABLE_SIZE allows. */
  limit(maxBytes: number): void {
    this.#maxBytes = Math.min(maxBytes, MAX_TABLE_BYTES);
    this.#smallestBytes = Math.min(this.#smallestBytes, this.#maxBytes);
    this.#evict(this.#maxBytes);
  }

  /** Writes the beginning of a block: table sizes that changed (§4.2) and the status. */
  begin(out: FrameWriter, status: number): void {
    if (this.#smallestBytes < this.#toldBytes || this.#maxBytes !== this.#toldBytes) this.#tellSizes(out);
    const index = STATUS_INDEXES.get(status);
    if (index !== undefined) return out.writeUint8(0x80 | index);
    out.writeUint8(STATUS_INDEX); // a literal that is not kept (§6.2.2)
    out.writeUint8(3);
    out.writeText(String(status));
  }

  /** Writes a field. */
  write(out: FrameWriter, name: ResponseFieldName, value: string): void {
    const insertion = this.#insertions.get(name)?.get(value);
    if (insertion !== undefined) {
      return writeNumber(out, 0x80, 0x7f, STATIC_TABLE.length + this.#inserted - insertion);
    }
    const isKept = this.#insert(name, value);
    if (isKept) writeNumber(out, 0x40, 0x3f, name);
    else writeNumber(out, 0x00, 0x0f, name);
    out.writeUint8(value.length);
    out.writeText(value);
  }

  #tellSizes(out: FrameWriter): void {
    if (this.#smallestBytes < this.#maxBytes) writeNumber(out, 0x20, 0x1f, this.#smallestBytes);
    writeNumber(out, 0x20, 0x1f, this.#maxBytes);
    this.#smallestBytes = this.#maxBytes;
    this.#toldBytes = this.#maxBytes;
  }

  #insert(name: ResponseFieldName, value: string): boolean {
    const sizeBytes = sizeOf({ name, value });
    if (sizeBytes > this.#maxBytes) return false;
    this.#evict(this.#maxBytes - sizeBytes);
    let values = this.#insertions.get(name);
    if (values === undefined) {
      values = new Map();
      this.#insertions.set(name, values);
    }
    values.set(value, this.#inserted++);
    this.#kept.push({ name, value });
    this.#sizeBytes += sizeBytes;
    return true;
  }

  /** Drops the oldest fields until the others are at most `maxBytes` together, as the peer's decoder does. */
  #evict(maxBytes: number): void {
    while (this.#sizeBytes > maxBytes) {
      const oldest = this.#kept.shift()!;
      this.#insertions.get(oldest.name)!.delete(oldest.value);
      this.#sizeBytes -= sizeOf(oldest);
    }
  }
}

function sizeOf({ name, value }: Kept): number {
  return STATIC_TABLE[name - 1]!.name.length + value.length + FIELD_OVERHEAD_BYTES;
}

/** Writes a number (§5.1) under `mask` of an octet that begins with `pattern`. */
function writeNumber(out: FrameWriter, pattern: number, mask: number, number: number): void {
  if (number < mask) return out.writeUint8(pattern | number);
  out.writeUint8(pattern | mask);
  let rest = number - mask;
  while (rest >= 0x80) {
    out.writeUint8(0x80 | (rest & 0x7f));
    rest >>>= 7;
  }
  out.writeUint8(rest);
}
