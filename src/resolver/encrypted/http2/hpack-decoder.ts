import {
  classifyName,
  createField,
  FIELD_KIND,
  type FieldKind,
  type HeaderField,
  isFieldValue,
} from './header-field.ts';
import { decodedBound, decodeHuffman } from './huffman.ts';
import { STATIC_TABLE } from './static-table.ts';

/** Takes the fields of a block in their order. */
export interface FieldSink {
  take(field: HeaderField): void;
}

/** Longest block that is decoded. */
export const MAX_BLOCK_BYTES = 16_384;
/** Largest dynamic table a client may use: what it is until told otherwise (RFC 9113 §6.5.2). */
export const MAX_TABLE_BYTES = 4_096;
/** No field counts for less than 32 octets, so this many are in a table at most: a power of two. */
const TABLE_SLOTS = 128;
/** Octets that a number may have after the first: enough for the length of anything in a block. */
const MAX_MORE_OCTETS = 2;
const NO_FIELD = -1;

/** Huffman-coded text is decoded here, one at a time. */
const scratch = Buffer.allocUnsafe(decodedBound(MAX_BLOCK_BYTES));

/** Decodes the header blocks of one client (RFC 7541), which must all be given to it in their order. */
export class HpackDecoder {
  /** The dynamic table, a ring: the newest field is at `#inserted - 1`. */
  readonly #slots: (HeaderField | undefined)[] = [];
  #inserted = 0;
  #count = 0;
  #sizeBytes = 0;
  #maxBytes = MAX_TABLE_BYTES;
  #source: Buffer = scratch;
  #at = 0;
  #end = 0;
  /** What `#readText` found, beside the text: where its octets are. */
  #octets: Buffer = scratch;
  #octetsAt = 0;
  #octetsLength = 0;

  /**
   * Decodes the block `source[start, end)` of at most `MAX_BLOCK_BYTES`. False when it is damaged: that is the end of the
   * connection (COMPRESSION_ERROR), because the tables of both sides are not the same any more.
   */
  decode(source: Buffer, start: number, end: number, sink: FieldSink): boolean {
    this.#source = source;
    this.#at = start;
    this.#end = end;
    const isWhole = this.#decodeAll(sink);
    // An idle connection keeps no memory of what it sent.
    this.#source = scratch;
    this.#octets = scratch;
    return isWhole;
  }

  #decodeAll(sink: FieldSink): boolean {
    const source = this.#source;
    const end = this.#end;
    let mayResize = true;
    while (this.#at < end) {
      const first = source[this.#at]!;
      if ((first & 0xe0) === 0x20) {
        if (!mayResize || !this.#resize(this.#readNumber(0x1f))) return false;
        continue;
      }
      mayResize = false;
      const field = (first & 0x80) !== 0 ? this.#find(this.#readNumber(0x7f)) : this.#readLiteral(first);
      if (field === undefined) return false;
      sink.take(field);
    }
    return true;
  }

  /** Reads a literal field (§6.2), and keeps it when it is to be indexed. */
  #readLiteral(first: number): HeaderField | undefined {
    const isKept = (first & 0x40) !== 0;
    const index = this.#readNumber(isKept ? 0x3f : 0x0f);
    let name: string | undefined;
    let nameKind: FieldKind = FIELD_KIND.OTHER;
    if (index === 0) {
      name = this.#readText();
      if (name === undefined) return undefined;
      nameKind = classifyName(name, this.#octets, this.#octetsAt, this.#octetsLength);
    } else {
      const named = this.#find(index);
      if (named === undefined) return undefined;
      ({ name, nameKind } = named);
    }
    const value = this.#readText();
    if (value === undefined) return undefined;
    const isFlawed = !isFieldValue(this.#octets, this.#octetsAt, this.#octetsLength);
    const field = createField(name, value, nameKind, isFlawed);
    if (isKept) this.#insert(field);
    return field;
  }

  /** Returns the field with an index (§2.3.3), if there is one. */
  #find(index: number): HeaderField | undefined {
    if (index <= STATIC_TABLE.length) return STATIC_TABLE[index - 1];
    const age = index - STATIC_TABLE.length;
    return age > this.#count ? undefined : this.#slots[(this.#inserted - age) & (TABLE_SLOTS - 1)];
  }

  #insert(field: HeaderField): void {
    this.#evict(this.#maxBytes - field.sizeBytes);
    // A field larger than the table empties it, and is not kept (§4.4).
    if (field.sizeBytes > this.#maxBytes) return;
    this.#slots[this.#inserted & (TABLE_SLOTS - 1)] = field;
    this.#inserted++;
    this.#count++;
    this.#sizeBytes += field.sizeBytes;
  }

  #resize(maxBytes: number): boolean {
    if (maxBytes < 0 || maxBytes > MAX_TABLE_BYTES) return false;
    this.#maxBytes = maxBytes;
    this.#evict(maxBytes);
    return true;
  }

  /** Drops the oldest fields until the others are at most `maxBytes` together. */
  #evict(maxBytes: number): void {
    while (this.#count > 0 && this.#sizeBytes > maxBytes) {
      const oldest = (this.#inserted - this.#count) & (TABLE_SLOTS - 1);
      this.#sizeBytes -= this.#slots[oldest]!.sizeBytes;
      this.#slots[oldest] = undefined;
      this.#count--;
    }
  }

  /** Reads a number (§5.1) whose first octet has it under `mask`; `NO_FIELD` when it is not whole or too large. */
  #readNumber(mask: number): number {
    const source = this.#source;
    let number = source[this.#at++]! & mask;
    if (number < mask) return number;
    for (let more = 0; more < MAX_MORE_OCTETS && this.#at < this.#end; more++) {
      const octet = source[this.#at++]!;
      number += (octet & 0x7f) << (7 * more);
      if (octet < 0x80) return number;
    }
    return NO_FIELD;
  }

  /** Reads a string (§5.2), one character for each octet. */
  #readText(): string | undefined {
    if (this.#at >= this.#end) return undefined;
    const isCoded = (this.#source[this.#at]! & 0x80) !== 0;
    const length = this.#readNumber(0x7f);
    const start = this.#at;
    if (length < 0 || length > this.#end - start) return undefined;
    this.#at = start + length;
    const coded = isCoded ? decodeHuffman(this.#source, start, length, scratch) : length;
    if (coded < 0) return undefined;
    this.#octets = isCoded ? scratch : this.#source;
    this.#octetsAt = isCoded ? 0 : start;
    this.#octetsLength = coded;
    return this.#octets.toString('latin1', this.#octetsAt, this.#octetsAt + coded);
  }
}
