import { WartaError } from '../base/errors.ts';
import { allocateTable } from '../base/libc.ts';
import { MAX_NAME_BYTES } from '../dns/constants.ts';
import { writeName } from '../dns/name.ts';
import { type AnswerOptions, composeOptTemplates, composeSoaTemplate } from './answer-template.ts';
import { addToFilter, sizeFilter } from './bloom-filter.ts';
import {
  HEADER,
  HEADER_WORDS,
  LINE_BYTES,
  linesOf,
  MAX_NOTICES,
  NO_END,
  NOTICE_SHIFT,
  RULE_BIT,
  RULE_WORDS,
  TABLE_MAGIC,
  TABLE_VERSION,
} from './layout.ts';
import type { RuleNotice } from './rule-table.ts';
import { hashName, reduceTo, type SuffixHash } from './suffix-hash.ts';

/** What a rule's name covers: only itself, or itself and everything below. */
export type Trigger = 'exact' | 'subtree';

/** What a rule does to the names it covers: block them, or take them out of its own entry's block. */
export type RuleAction = 'block' | 'passthru';

export interface RuleTableOptions {
  /** Category ids of the pack, in its order. */
  categories: readonly string[];
  /** What every answer says of the node. */
  answer: AnswerOptions;
  /** Two random 32-bit words; a new pair for each table. */
  seed: readonly [number, number];
  /** When the table is built, seconds since the epoch: the SOA serial. */
  builtAtSeconds: number;
  /** Digest of what the table is compiled from. */
  source: string;
  /** Filter target; 1 in 1,000 by default: a false hit costs one look at the exact table. */
  falsePositiveRate?: number;
}

/** Share of slots in use: linear probing stays under two looks a hit. */
const SLOT_LOAD = 0.62;
const ROW_WORDS = 5;
const DEFAULT_FALSE_POSITIVE_RATE = 0.001;
/** Offsets of names are 32-bit. */
const MAX_NAMES_BYTES = 0xffffffff - MAX_NAME_BYTES;

/** Collects rules and compiles them into one shared buffer. Use once. */
export class RuleTableBuilder {
  readonly #options: RuleTableOptions;
  readonly #notices: RuleNotice[] = [];
  #names = new Uint8Array(1 << 16);
  #namesEnd = 0;
  /** Rows: offset of the name, notBefore, notAfter, entry, notice and bits. */
  #rows = new Uint32Array(1 << 12);
  #count = 0;
  #maxLabels = 0;

  constructor(options: RuleTableOptions) {
    this.#options = options;
  }

  get ruleCount(): number {
    return this.#count;
  }

  /**
   * Adds a notice and returns its ordinal for `addRule`.
   *
   * @throws {WartaError} `table-too-large` above 2^24 notices; `pack-invalid` for a category the pack does not have.
   */
  addNotice(notice: RuleNotice): number {
    if (this.#notices.length >= MAX_NOTICES) throw new WartaError('table-too-large', 'more than 16,777,216 notices');
    if (!this.#options.categories.includes(notice.category)) {
      throw new WartaError('pack-invalid', `category '${notice.category}' is not in the policy pack`);
    }
    return this.#notices.push(notice) - 1;
  }

  /**
   * Adds one rule. `name` is dotted and canonical (lower-case A-labels, no final dot, at least two labels). The rule holds
   * at every second t with `notBefore <= t < notAfter`; `NO_END` has no end. `entry` numbers the entry: a passthru cancels
   * block rules of the same entry and no other.
   *
   * @throws {WartaError} `name-invalid`; `table-too-large`.
   */
  addRule(
    name: string,
    trigger: Trigger,
    action: RuleAction,
    notBefore: number,
    notAfter: number,
    notice: number,
    entry: number,
  ): void {
    this.#reserve(name.length + 2);
    const offset = this.#namesEnd;
    const end = writeName(name, this.#names, offset);
    const labels = end < 0 ? 0 : countLabels(this.#names, offset);
    if (labels < 2)
      throw new WartaError('name-invalid', `'${name}' cannot be a rule: it needs at least two valid labels`);
    if (labels > this.#maxLabels) this.#maxLabels = labels;
    this.#namesEnd = end;
    const at = this.#count++ * ROW_WORDS;
    this.#rows[at] = offset;
    this.#rows[at + 1] = clampSeconds(notBefore);
    this.#rows[at + 2] = clampSeconds(notAfter);
    this.#rows[at + 3] = entry;
    this.#rows[at + 4] =
      (notice << NOTICE_SHIFT) |
      (trigger === 'subtree' ? RULE_BIT.SUBTREE : 0) |
      (action === 'passthru' ? RULE_BIT.PASSTHRU : 0);
  }

  /** Makes room for one more name and row. */
  #reserve(nameBytes: number): void {
    if (this.#namesEnd + nameBytes > MAX_NAMES_BYTES) throw new WartaError('table-too-large', 'names exceed 4 GiB');
    if (this.#namesEnd + nameBytes > this.#names.length) {
      const larger = new Uint8Array(Math.min(MAX_NAMES_BYTES + MAX_NAME_BYTES, this.#names.length * 2 + nameBytes));
      larger.set(this.#names);
      this.#names = larger;
    }
    if ((this.#count + 1) * ROW_WORDS > this.#rows.length) {
      const larger = new Uint32Array(this.#rows.length * 2);
      larger.set(this.#rows);
      this.#rows = larger;
    }
  }

  /** Compiles what was added. The builder's own memory can be dropped afterwards. */
  build(): SharedArrayBuffer {
    const grouped = this.#groupByName();
    const templates = this.#composeTemplates();
    const description = Buffer.from(
      JSON.stringify({ categories: this.#options.categories, notices: this.#notices, source: this.#options.source }),
    );
    const filterBlocks = sizeFilter(grouped.nameCount, this.#options.falsePositiveRate ?? DEFAULT_FALSE_POSITIVE_RATE);
    const header = new Uint32Array(HEADER_WORDS);
    let line = linesOf(HEADER_WORDS * 4);
    const place = (word: number, sizeBytes: number) => {
      header[word] = line;
      line += linesOf(sizeBytes);
    };
    place(HEADER.FILTER_LINE, filterBlocks * LINE_BYTES);
    place(HEADER.SLOTS_LINE, grouped.slotCount * 8);
    place(HEADER.RECORDS_LINE, grouped.recordWords * 4);
    place(HEADER.NOTICES_LINE, this.#notices.length * 16);
    place(HEADER.TEMPLATES_LINE, templates.bytes.length);
    place(HEADER.DESCRIPTION_LINE, description.length);
    header[HEADER.MAGIC] = TABLE_MAGIC;
    header[HEADER.VERSION] = TABLE_VERSION;
    header[HEADER.SEED_A] = this.#options.seed[0];
    header[HEADER.SEED_B] = this.#options.seed[1];
    header[HEADER.MAX_LABELS] = this.#maxLabels;
    header[HEADER.BUILT_AT] = this.#options.builtAtSeconds;
    header[HEADER.TOTAL_LINES] = line;
    header[HEADER.FILTER_BLOCKS] = filterBlocks;
    header[HEADER.SLOT_COUNT] = grouped.slotCount;
    header[HEADER.RECORD_WORDS] = grouped.recordWords;
    header[HEADER.NAME_COUNT] = grouped.nameCount;
    header[HEADER.RULE_COUNT] = this.#count;
    header[HEADER.NOTICE_COUNT] = this.#notices.length;
    header[HEADER.TEMPLATES_BYTES] = templates.bytes.length;
    header[HEADER.SOA_BYTES] = templates.soaBytes;
    header[HEADER.DESCRIPTION_BYTES] = description.length;

    const table = allocateTable(line * LINE_BYTES);
    const words = (word: number, count: number) => new Uint32Array(table, header[word]! * LINE_BYTES, count);
    const octets = (word: number, count: number) => new Uint8Array(table, header[word]! * LINE_BYTES, count);
    new Uint32Array(table, 0, HEADER_WORDS).set(header);
    octets(HEADER.TEMPLATES_LINE, templates.bytes.length).set(templates.bytes);
    octets(HEADER.DESCRIPTION_LINE, description.length).set(description);
    words(HEADER.NOTICES_LINE, this.#notices.length * 4).set(templates.rows);
    this.#writeRules(
      grouped,
      words(HEADER.FILTER_LINE, (filterBlocks * LINE_BYTES) / 4),
      filterBlocks,
      words(HEADER.SLOTS_LINE, grouped.slotCount * 2),
      words(HEADER.RECORDS_LINE, grouped.recordWords),
      octets(HEADER.RECORDS_LINE, grouped.recordWords * 4),
    );
    return table;
  }

  /** Finds equal names: numbers the distinct ones in the slots and chains each name's rows in order of arrival. */
  #groupByName(): GroupedNames {
    const slotCount = Math.max(8, Math.ceil(this.#count / SLOT_LOAD));
    const slots = new Uint32Array(slotCount * 2);
    const firstRow = new Uint32Array(this.#count);
    const lastRow = new Uint32Array(this.#count);
    const nextRow = new Uint32Array(this.#count);
    const hash: SuffixHash = { first: 0, second: 0 };
    const [seedA, seedB] = this.#options.seed;
    let nameCount = 0;
    let recordWords = this.#count * RULE_WORDS;
    for (let row = 0; row < this.#count; row++) {
      const offset = this.#rows[row * ROW_WORDS]!;
      const rootAt = findRoot(this.#names, offset);
      hashName(this.#names, offset, rootAt, seedA | 0, seedB | 0, hash);
      let slot = reduceTo(hash.first, slotCount);
      let name = slots[slot * 2 + 1]!;
      while (
        name !== 0 &&
        !(slots[slot * 2] === hash.second && this.#equalNames(firstRow[name - 1]!, offset, rootAt))
      ) {
        slot = slot + 1 === slotCount ? 0 : slot + 1;
        name = slots[slot * 2 + 1]!;
      }
      nextRow[row] = NO_END;
      if (name === 0) {
        slots[slot * 2] = hash.second;
        slots[slot * 2 + 1] = ++nameCount;
        firstRow[nameCount - 1] = row;
        lastRow[nameCount - 1] = row;
        recordWords += 1 + wordsOf(rootAt + 1 - offset);
      } else {
        nextRow[lastRow[name - 1]!] = row;
        lastRow[name - 1] = row;
      }
    }
    return { slots, firstRow, nextRow, slotCount, nameCount, recordWords };
  }

  #equalNames(row: number, offset: number, rootAt: number): boolean {
    const names = this.#names;
    for (let i = this.#rows[row * ROW_WORDS]!, j = offset; j <= rootAt; i++, j++) {
      if (names[i] !== names[j]) return false;
    }
    return true;
  }

  /** Writes every section that grows with the number of rules. Slots held name numbers and now get record offsets. */
  #writeRules(
    grouped: GroupedNames,
    filter: Uint32Array,
    filterBlocks: number,
    slots: Uint32Array,
    records: Uint32Array,
    recordBytes: Uint8Array,
  ): void {
    const hash: SuffixHash = { first: 0, second: 0 };
    const [seedA, seedB] = this.#options.seed;
    const recordOf = new Uint32Array(grouped.nameCount);
    let at = 0;
    for (let name = 0; name < grouped.nameCount; name++) {
      const offset = this.#rows[grouped.firstRow[name]! * ROW_WORDS]!;
      const rootAt = findRoot(this.#names, offset);
      hashName(this.#names, offset, rootAt, seedA | 0, seedB | 0, hash);
      addToFilter(filter, filterBlocks, hash.first, hash.second);
      recordOf[name] = at;
      let rule = at + 1;
      for (let row = grouped.firstRow[name]!; row !== NO_END; row = grouped.nextRow[row]!) {
        for (let word = 0; word < RULE_WORDS; word++) records[rule++] = this.#rows[row * ROW_WORDS + 1 + word]!;
      }
      records[at] = (rule - at - 1) / RULE_WORDS;
      for (let i = offset, j = rule * 4; i <= rootAt; i++, j++) recordBytes[j] = this.#names[i]!;
      at = rule + wordsOf(rootAt + 1 - offset);
    }
    for (let slot = 0; slot < grouped.slotCount; slot++) {
      const name = grouped.slots[slot * 2 + 1]!;
      if (name === 0) continue;
      slots[slot * 2] = grouped.slots[slot * 2]!;
      slots[slot * 2 + 1] = recordOf[name - 1]! + 1;
    }
  }

  /** Composes the SOA and every notice's OPT records, and the rows that say where they are. */
  #composeTemplates(): { bytes: Uint8Array; soaBytes: number; rows: Uint32Array } {
    const soa = composeSoaTemplate(this.#options.answer, this.#options.builtAtSeconds);
    const parts = [soa];
    const rows = new Uint32Array(this.#notices.length * 4);
    let at = soa.length;
    this.#notices.forEach((notice, i) => {
      const { plain, structured, brief } = composeOptTemplates(this.#options.answer, notice);
      const category = this.#options.categories.indexOf(notice.category);
      rows.set([category, at, plain.length, structured.length | (brief.length << 16)], i * 4);
      parts.push(plain, structured, brief);
      at += plain.length + structured.length + brief.length;
    });
    return { bytes: Buffer.concat(parts), soaBytes: soa.length, rows };
  }
}

interface GroupedNames {
  /** As in the table, but with the number of the name + 1 in place of its record. */
  slots: Uint32Array;
  slotCount: number;
  /** First row of each name. */
  firstRow: Uint32Array;
  /** Next row with the same name, or `NO_END`. */
  nextRow: Uint32Array;
  nameCount: number;
  recordWords: number;
}

/** Words that hold so many octets. */
function wordsOf(sizeBytes: number): number {
  return (sizeBytes + 3) >>> 2;
}

function countLabels(wire: Uint8Array, offset: number): number {
  let labels = 0;
  for (let at = offset; wire[at] !== 0; at += wire[at]! + 1) labels++;
  return labels;
}

function findRoot(wire: Uint8Array, offset: number): number {
  let at = offset;
  while (wire[at] !== 0) at += wire[at]! + 1;
  return at;
}

/** Keeps a time within 32 bits; the year 2106 and later read as no end. */
function clampSeconds(seconds: number): number {
  return Math.max(0, Math.min(NO_END, Math.floor(seconds)));
}
