import { hash } from 'node:crypto';
import type { EntryTable } from '../../register/annex.ts';

/** Slots a segment begins with, and how full it may be. */
const FIRST_CAPACITY = 1 << 10;
const LARGEST_LOAD = 0.6;

/** Entries after which a new segment is begun: making a larger one larger still would take too long in one piece. */
const SEGMENT_ENTRIES = 1 << 16;

/** What stands in a slot that nothing is in; entries are counted from one. */
const EMPTY = 0;

/**
 * Finds entries by their name among all tables that were added: about sixteen octets an entry, where a map of a million names
 * takes a hundred each. Names are read from the tables themselves.
 */
export class NameIndex {
  readonly #segments = [new Segment(0)];
  #tables = 0;

  /** Adds a table: the first one has the number 0, and so on. */
  add(entries: EntryTable): void {
    const current = this.#segments.at(-1)!;
    const isFull = current.count > 0 && current.count + entries.count > SEGMENT_ENTRIES;
    if (isFull) this.#segments.push(new Segment(this.#tables));
    this.#segments.at(-1)!.add(entries);
    this.#tables++;
  }

  /** Returns the entries with a name: numbers of their tables, and places in these. */
  find(name: string): { table: number; at: number }[] {
    const wanted = hashName(name);
    return this.#segments.flatMap((segment) => segment.find(name, wanted));
  }
}

/** Some tables and a hash table of the names in them. */
class Segment {
  /** Number of its first table. */
  readonly #first: number;
  readonly #tables: EntryTable[] = [];
  /** How many entries the tables before each one have. */
  readonly #before: number[] = [];
  #hashes = new Uint32Array(FIRST_CAPACITY);
  #numbers = new Uint32Array(FIRST_CAPACITY);
  #count = 0;

  constructor(first: number) {
    this.#first = first;
  }

  get count(): number {
    return this.#count;
  }

  add(entries: EntryTable): void {
    this.#tables.push(entries);
    this.#before.push(this.#count);
    this.#makeRoom(this.#count + entries.count);
    for (let at = 0; at < entries.count; at++) this.#insert(hashName(entries.name(at)), this.#count + at + 1);
    this.#count += entries.count;
  }

  find(name: string, wanted: number): { table: number; at: number }[] {
    const found: { table: number; at: number }[] = [];
    const mask = this.#hashes.length - 1;
    for (let slot = wanted & mask; this.#numbers[slot] !== EMPTY; slot = (slot + 1) & mask) {
      if (this.#hashes[slot] !== wanted) continue;
      const { table, at } = this.#locate(this.#numbers[slot] - 1);
      if (this.#tables[table].name(at) === name) found.push({ table: this.#first + table, at });
    }
    return found;
  }

  #locate(number: number): { table: number; at: number } {
    let low = 0;
    let high = this.#before.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#before[middle] <= number) low = middle;
      else high = middle - 1;
    }
    return { table: low, at: number - this.#before[low] };
  }

  #insert(hashed: number, number: number): void {
    const mask = this.#hashes.length - 1;
    let slot = hashed & mask;
    while (this.#numbers[slot] !== EMPTY) slot = (slot + 1) & mask;
    this.#hashes[slot] = hashed;
    this.#numbers[slot] = number;
  }

  #makeRoom(count: number): void {
    let capacity = this.#hashes.length;
    while (count > capacity * LARGEST_LOAD) capacity *= 2;
    if (capacity === this.#hashes.length) return;
    const hashes = this.#hashes;
    const numbers = this.#numbers;
    this.#hashes = new Uint32Array(capacity);
    this.#numbers = new Uint32Array(capacity);
    for (let slot = 0; slot < numbers.length; slot++) {
      if (numbers[slot] !== EMPTY) this.#insert(hashes[slot], numbers[slot]);
    }
  }
}

/** 32 bits of a digest: it takes whoever chooses names some work to make them collide. */
function hashName(name: string): number {
  return hash('sha1', name, 'buffer').readUInt32LE(0);
}
