import { WartaError } from '../base/errors.ts';
import { allocateTable, releaseMemory } from '../base/libc.ts';
import { type AnswerOptions, composeOptTemplates, composeSoaTemplate } from './answer-template.ts';
import { addToFilter, sizeFilter } from './bloom-filter.ts';
import { ByteCollector } from './byte-collector.ts';
import {
  HEADER,
  HEADER_WORDS,
  LINE_BYTES,
  linesOf,
  MAX_NOTICES,
  NO_END,
  RULE_WORDS,
  TABLE_MAGIC,
  TABLE_VERSION,
} from './layout.ts';
import {
  clampSeconds,
  composeBits,
  countLabels,
  findRoot,
  RULE_NAME_ROOM,
  type RuleAction,
  type Trigger,
  wordsOf,
  writeRuleName,
} from './rule-record.ts';
import type { RuleNotice } from './rule-table.ts';
import { hashName, reduceTo, type SuffixHash } from './suffix-hash.ts';

export type { RuleAction, Trigger } from './rule-record.ts';

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
  /** How many rules to expect, if known: saves growing step by step. */
  expectedRules?: number;
}

/**
 * Share of slots in use once the spare ones are as well; 0.62 when the table is built. Linear probing stays near two looks a
 * hit.
 */
const SLOT_LOAD = 0.7;

/** A section's unused part: an eighth, or the least that makes a patch of a small table worth while. */
const SPARE_SHARE = 8;
const LEAST_SPARE_NAMES = 8;
const LEAST_SPARE_NOTICES = 16;
/** A table of many names and few notices gets room for one more notice for so many names. */
const NAMES_A_NOTICE = 1024;
/** Octets set aside for the templates, and for the description, of one spare notice; enough for nearly every one. */
const SPARE_TEMPLATE_BYTES = 512;
const SPARE_DESCRIPTION_BYTES = 384;
/** Octets set aside for the addresses of pages: a few dozen more. */
const SPARE_PAGES_BYTES = 4096;
/** Octets of a name set aside for one spare name. */
const SPARE_NAME_BYTES = 32;
/** Least room for the source: two digests and a sign between them. */
const SOURCE_CAPACITY_BYTES = 192;

const ROW_WORDS = 5;
/** Octets of a name in wire form, expected. */
const EXPECTED_NAME_BYTES = 20;
const DEFAULT_FALSE_POSITIVE_RATE = 0.001;
/** Rows, or names, between two reports of progress. */
const STEP = 1 << 15;
/** Offsets of names are 32-bit. */
const MAX_NAMES_BYTES = 0xffffffff - RULE_NAME_ROOM;

/** Collects rules and compiles them into one shared buffer. Use once. */
export class RuleTableBuilder {
  readonly #options: RuleTableOptions;
  readonly #notices: RuleNotice[] = [];
  readonly #pages = new ByteCollector();
  #names: Uint8Array;
  #namesEnd = 0;
  /** Rows: offset of the name, notBefore, notAfter, entry, notice and bits. */
  #rows: Uint32Array;
  #count = 0;
  #maxLabels = 0;

  constructor(options: RuleTableOptions) {
    this.#options = options;
    const expected = Math.max(256, options.expectedRules ?? 0);
    this.#names = new Uint8Array(expected * EXPECTED_NAME_BYTES);
    this.#rows = new Uint32Array(expected * ROW_WORDS);
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
    this.#reserve();
    const offset = this.#namesEnd;
    const rootAt = writeRuleName(name, this.#names, offset);
    this.#namesEnd = rootAt + 1;
    this.#maxLabels = Math.max(this.#maxLabels, countLabels(this.#names, offset));
    const at = this.#count++ * ROW_WORDS;
    this.#rows[at] = offset;
    this.#rows[at + 1] = clampSeconds(notBefore);
    this.#rows[at + 2] = clampSeconds(notAfter);
    this.#rows[at + 3] = entry;
    this.#rows[at + 4] = composeBits(trigger, action, notice);
  }

  /**
   * Adds the address of a page that an entry lists, in WHATWG's spelling; the entry's own rule steers its host. `anyQuery`:
   * whatever the query is.
   */
  addPage(entry: number, url: string, anyQuery: boolean): void {
    this.#pages.append(composePage(entry, url, anyQuery));
  }

  /** Makes room for one more name and row. */
  #reserve(): void {
    if (this.#namesEnd > MAX_NAMES_BYTES) throw new WartaError('table-too-large', 'names exceed 4 GiB');
    if (this.#namesEnd + RULE_NAME_ROOM > this.#names.length) {
      const larger = new Uint8Array(Math.min(MAX_NAMES_BYTES + RULE_NAME_ROOM, this.#names.length * 2));
      larger.set(this.#names);
      releaseMemory(this.#names);
      this.#names = larger;
    }
    if ((this.#count + 1) * ROW_WORDS > this.#rows.length) {
      const larger = new Uint32Array(this.#rows.length * 2);
      larger.set(this.#rows);
      releaseMemory(this.#rows);
      this.#rows = larger;
    }
  }

  /**
   * Compiles what was added. Memory is short where a table and what it is made of stand side by side, so whatever is in the
   * table goes back to the system while the rest is written.
   */
  build(onProgress: (done: number, total: number) => void = () => {}): SharedArrayBuffer {
    const grouped = this.#groupByName((row) => onProgress(row, 2 * this.#count));
    const templates = this.#composeTemplates();
    const source = Buffer.from(this.#options.source);
    const description = this.#composeDescription();
    const pages = this.#pages;
    const header = this.#composeHeader(grouped, templates, source.length, pages.length, description.length);
    const table = allocateTable(header[HEADER.TOTAL_LINES]! * LINE_BYTES);
    const words = (word: number, count: number) => new Uint32Array(table, header[word]! * LINE_BYTES, count);
    const octets = (word: number, count: number) => new Uint8Array(table, header[word]! * LINE_BYTES, count);
    new Uint32Array(table, 0, HEADER_WORDS).set(header);
    templates.bytes.moveTo(octets(HEADER.TEMPLATES_LINE, templates.bytes.length));
    octets(HEADER.SOURCE_LINE, source.length).set(source);
    pages.moveTo(octets(HEADER.PAGES_LINE, pages.length));
    description.moveTo(octets(HEADER.DESCRIPTION_LINE, description.length));
    words(HEADER.NOTICES_LINE, templates.rows.length).set(templates.rows);
    const slots = words(HEADER.SLOTS_LINE, grouped.slots.length);
    moveWords(grouped.slots, slots);
    const filterBlocks = header[HEADER.FILTER_BLOCKS]!;
    this.#writeRules(
      grouped,
      words(HEADER.FILTER_LINE, (filterBlocks * LINE_BYTES) / 4),
      filterBlocks,
      words(HEADER.RECORDS_LINE, grouped.recordWords),
      octets(HEADER.RECORDS_LINE, grouped.recordWords * 4),
      (row) => onProgress(this.#count + row, 2 * this.#count),
    );
    turnToRecords(slots, grouped.recordOf);
    releaseMemory(grouped.recordOf);
    return table;
  }

  /** Places every section, with what is set aside for patches, and writes down what is in use. */
  #composeHeader(
    grouped: GroupedNames,
    templates: Templates,
    sourceBytes: number,
    pagesBytes: number,
    descriptionBytes: number,
  ): Uint32Array {
    const { nameCount, recordWords, slotCount } = grouped;
    const noticeCount = this.#notices.length;
    const names = spareOf(nameCount, LEAST_SPARE_NAMES);
    const notices = spareOf(noticeCount, Math.max(LEAST_SPARE_NOTICES, Math.ceil(nameCount / NAMES_A_NOTICE)));
    const spareWords = spareOf(recordWords, names * (1 + RULE_WORDS + wordsOf(SPARE_NAME_BYTES)));
    const filterBlocks = sizeFilter(nameCount, this.#options.falsePositiveRate ?? DEFAULT_FALSE_POSITIVE_RATE);
    const header = new Uint32Array(HEADER_WORDS);
    let line = linesOf(HEADER_WORDS * 4);
    const place = (word: number, sizeBytes: number) => {
      header[word] = line;
      line += linesOf(sizeBytes);
    };
    place(HEADER.FILTER_LINE, filterBlocks * LINE_BYTES);
    place(HEADER.SLOTS_LINE, slotCount * 8);
    place(HEADER.RECORDS_LINE, (recordWords + spareWords) * 4);
    place(HEADER.NOTICES_LINE, (noticeCount + notices) * 16);
    place(HEADER.TEMPLATES_LINE, templates.bytes.length + notices * SPARE_TEMPLATE_BYTES);
    place(HEADER.SOURCE_LINE, Math.max(sourceBytes, SOURCE_CAPACITY_BYTES));
    place(HEADER.PAGES_LINE, pagesBytes + spareOf(pagesBytes, SPARE_PAGES_BYTES));
    place(HEADER.DESCRIPTION_LINE, descriptionBytes + notices * SPARE_DESCRIPTION_BYTES);
    header[HEADER.MAGIC] = TABLE_MAGIC;
    header[HEADER.VERSION] = TABLE_VERSION;
    header[HEADER.SEED_A] = this.#options.seed[0];
    header[HEADER.SEED_B] = this.#options.seed[1];
    header[HEADER.MAX_LABELS] = this.#maxLabels;
    header[HEADER.BUILT_AT] = this.#options.builtAtSeconds;
    header[HEADER.TOTAL_LINES] = line;
    header[HEADER.FILTER_BLOCKS] = filterBlocks;
    header[HEADER.SLOT_COUNT] = slotCount;
    header[HEADER.RECORD_WORDS] = recordWords;
    header[HEADER.NAME_COUNT] = nameCount;
    header[HEADER.NAME_CAPACITY] = nameCount + names;
    header[HEADER.RULE_COUNT] = this.#count;
    header[HEADER.NOTICE_COUNT] = noticeCount;
    header[HEADER.TEMPLATES_BYTES] = templates.bytes.length;
    header[HEADER.SOA_BYTES] = templates.soaBytes;
    header[HEADER.SOURCE_BYTES] = sourceBytes;
    header[HEADER.PAGES_BYTES] = pagesBytes;
    header[HEADER.DESCRIPTION_BYTES] = descriptionBytes;
    return header;
  }

  /** Finds equal names: numbers the distinct ones in the slots and chains each name's rows in order of arrival. */
  #groupByName(onRow: (row: number) => void): GroupedNames {
    const slotCount = Math.ceil((this.#count + spareOf(this.#count, LEAST_SPARE_NAMES)) / SLOT_LOAD);
    const slots = new Uint32Array(slotCount * 2);
    const firstRow = new Uint32Array(this.#count);
    const lastRow = new Uint32Array(this.#count);
    const nextRow = new Uint32Array(this.#count);
    const hash: SuffixHash = { first: 0, second: 0 };
    const [seedA, seedB] = this.#options.seed;
    let nameCount = 0;
    let recordWords = this.#count * RULE_WORDS;
    for (let row = 0; row < this.#count; row++) {
      if (row % STEP === 0) onRow(row);
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
    return { slots, firstRow, nextRow, recordOf: lastRow, slotCount, nameCount, recordWords };
  }

  #equalNames(row: number, offset: number, rootAt: number): boolean {
    const names = this.#names;
    for (let i = this.#rows[row * ROW_WORDS]!, j = offset; j <= rootAt; i++, j++) {
      if (names[i] !== names[j]) return false;
    }
    return true;
  }

  /** Writes filter and records, in the order in which each name came first; the rows before that one are done with. */
  #writeRules(
    grouped: GroupedNames,
    filter: Uint32Array,
    filterBlocks: number,
    records: Uint32Array,
    recordBytes: Uint8Array,
    onRow: (row: number) => void,
  ): void {
    const hash: SuffixHash = { first: 0, second: 0 };
    const [seedA, seedB] = this.#options.seed;
    const { recordOf } = grouped;
    let rowsDone = 0;
    let at = 0;
    for (let name = 0; name < grouped.nameCount; name++) {
      const firstRow = grouped.firstRow[name]!;
      if (name % STEP === 0) {
        this.#releaseRows(grouped, rowsDone, firstRow);
        releaseMemory(grouped.firstRow.subarray(Math.max(0, name - STEP), name));
        rowsDone = firstRow;
        onRow(firstRow);
      }
      const offset = this.#rows[firstRow * ROW_WORDS]!;
      const rootAt = findRoot(this.#names, offset);
      hashName(this.#names, offset, rootAt, seedA | 0, seedB | 0, hash);
      addToFilter(filter, filterBlocks, hash.first, hash.second);
      recordOf[name] = at;
      let rule = at + 1;
      for (let row = firstRow; row !== NO_END; row = grouped.nextRow[row]!) {
        for (let word = 0; word < RULE_WORDS; word++) records[rule++] = this.#rows[row * ROW_WORDS + 1 + word]!;
      }
      records[at] = (rule - at - 1) / RULE_WORDS;
      for (let i = offset, j = rule * 4; i <= rootAt; i++, j++) recordBytes[j] = this.#names[i]!;
      at = rule + wordsOf(rootAt + 1 - offset);
    }
    this.#releaseRows(grouped, rowsDone, this.#count);
  }

  /** Gives back the memory of the rows from one up to another, with their names and what chains them. */
  #releaseRows({ nextRow }: GroupedNames, from: number, to: number): void {
    const offsetOf = (row: number) => (row < this.#count ? this.#rows[row * ROW_WORDS]! : this.#namesEnd);
    const names = this.#names.subarray(offsetOf(from), offsetOf(to));
    releaseMemory(names);
    releaseMemory(this.#rows.subarray(from * ROW_WORDS, to * ROW_WORDS));
    releaseMemory(nextRow.subarray(from, to));
  }

  /** Composes the SOA and every notice's OPT records, and the rows that say where they are. */
  #composeTemplates(): Templates {
    const { answer, categories, builtAtSeconds } = this.#options;
    const bytes = new ByteCollector();
    const soa = composeSoaTemplate(answer, builtAtSeconds);
    bytes.append(soa);
    const rows = new Uint32Array(this.#notices.length * NOTICE_WORDS);
    this.#notices.forEach((notice, i) => {
      const composed = composeNoticeTemplates(answer, categories, notice, bytes.length);
      rows.set(composed.row, i * NOTICE_WORDS);
      bytes.append(composed.bytes);
    });
    return { bytes, soaBytes: soa.length, rows };
  }

  /** Composes the description: the category ids, then every notice, a line each. */
  #composeDescription(): ByteCollector {
    const bytes = new ByteCollector();
    bytes.append(composeLine(this.#options.categories));
    for (const notice of this.#notices) bytes.append(composeLine(notice));
    return bytes;
  }
}

/** Moves words into the table piece by piece, so that hardly any of them stand in both places at once. */
function moveWords(from: Uint32Array, to: Uint32Array): void {
  for (let at = 0; at < from.length; at += STEP) {
    const piece = from.subarray(at, at + STEP);
    to.set(piece, at);
    releaseMemory(piece);
  }
}

/** Puts the record of each name in place of its number. */
function turnToRecords(slots: Uint32Array, recordOf: Uint32Array): void {
  for (let at = 1; at < slots.length; at += 2) if (slots[at] !== 0) slots[at] = recordOf[slots[at]! - 1]! + 1;
}

/** Words of a notice's row. */
export const NOTICE_WORDS = 4;

/** Composes a notice's OPT records for the place `at` in the templates, and the row of the notices that leads there. */
export function composeNoticeTemplates(
  answer: AnswerOptions,
  categories: readonly string[],
  notice: RuleNotice,
  at: number,
): { bytes: Uint8Array; row: readonly number[] } {
  const { plain, structured, brief } = composeOptTemplates(answer, notice);
  return {
    bytes: Buffer.concat([plain, structured, brief]),
    row: [categories.indexOf(notice.category), at, plain.length, structured.length | (brief.length << 16)],
  };
}

/** Composes one line of the description. */
export function composeLine(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

/** Composes one line of the pages. */
export function composePage(entry: number, url: string, anyQuery: boolean): Buffer {
  return composeLine(anyQuery ? [entry, url, 1] : [entry, url]);
}

/** Returns how many of something are set aside beside so many in use. */
function spareOf(used: number, least: number): number {
  return Math.max(least, Math.ceil(used / SPARE_SHARE));
}

interface Templates {
  bytes: ByteCollector;
  soaBytes: number;
  rows: Uint32Array;
}

interface GroupedNames {
  /** As in the table, but with the number of the name + 1 in place of its record. */
  slots: Uint32Array;
  slotCount: number;
  /** First row of each name. */
  firstRow: Uint32Array;
  /** Next row with the same name, or `NO_END`. */
  nextRow: Uint32Array;
  /** Room for the record of each name. */
  recordOf: Uint32Array;
  nameCount: number;
  recordWords: number;
}
