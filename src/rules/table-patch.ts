import { allocateTable } from '../base/libc.ts';
import { type AnswerOptions, composeSoaTemplate } from './answer-template.ts';
import { addToFilter } from './bloom-filter.ts';
import {
  capacityOf,
  HEADER,
  HEADER_WORDS,
  LINE_BYTES,
  MAX_NOTICES,
  NOTICE_SHIFT,
  RULE,
  RULE_WORDS,
  type SECTIONS,
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
import { composeLine, composeNoticeTemplates, composePage, NOTICE_WORDS } from './rule-table-builder.ts';
import { hashName, reduceTo, type SuffixHash } from './suffix-hash.ts';

/** What a patch is made with; categories and answers must be those the table was built with. */
export interface PatchOptions {
  categories: readonly string[];
  answer: AnswerOptions;
  /** When the patch is made, seconds since the epoch: the SOA serial. */
  builtAtSeconds: number;
  /** Digest of what the patched table is compiled from. */
  source: string;
  /**
   * Where each notice stands among all, by ordinal, those to come included: of rules for the same name the one of the lower
   * rank is taken. Notices that stay must keep their order.
   */
  ranks: ArrayLike<number>;
  /** Ordinals of the notices whose rules end. */
  ended: readonly number[];
}

/** Returns how many names can be added to a table before it has to be built anew. */
export function countSpareNames(table: SharedArrayBuffer): number {
  const header = new Uint32Array(table, 0, HEADER_WORDS);
  return header[HEADER.NAME_CAPACITY]! - header[HEADER.NAME_COUNT]!;
}

/**
 * Makes a new table out of a compiled one by copying it, ending notices and adding others: a tenth of a second at a million
 * rules, where building takes one and folding names into rules another. The old table is only read, so its readers go on.
 *
 * The rules of an ended notice get an empty window in the copy, where they are. New rules go into the space that the builder
 * left; when that is used up, `finish` returns `undefined` and the table has to be built anew.
 */
export class RuleTablePatch {
  readonly #options: PatchOptions;
  readonly #table: SharedArrayBuffer;
  readonly #header: Uint32Array;
  readonly #octets: Uint8Array;
  readonly #filter: Uint32Array;
  readonly #slots: Uint32Array;
  /** All of the section, the unused part too, and the same memory as octets. */
  readonly #records: Uint32Array;
  readonly #recordBytes: Uint8Array;
  readonly #name = new Uint8Array(RULE_NAME_ROOM);
  readonly #hash: SuffixHash = { first: 0, second: 0 };
  /** Words of the rules of the record being written. */
  readonly #rules: number[] = [];
  #full = false;

  constructor(table: SharedArrayBuffer, options: PatchOptions) {
    this.#options = options;
    this.#table = allocateTable(table.byteLength);
    this.#octets = new Uint8Array(this.#table);
    this.#octets.set(new Uint8Array(table));
    this.#header = new Uint32Array(this.#table, 0, HEADER_WORDS);
    this.#filter = this.#wordsOf(HEADER.FILTER_LINE);
    this.#slots = this.#wordsOf(HEADER.SLOTS_LINE);
    this.#records = this.#wordsOf(HEADER.RECORDS_LINE);
    this.#recordBytes = new Uint8Array(this.#table, this.#records.byteOffset, this.#records.byteLength);
    this.#header[HEADER.BUILT_AT] = options.builtAtSeconds;
    this.#replaceSoa();
    this.#replaceSource();
    if (options.ended.length > 0) this.#endNotices(options.ended);
  }

  #wordsOf(section: (typeof SECTIONS)[number]): Uint32Array {
    const sizeBytes = capacityOf(this.#header, section);
    return new Uint32Array(this.#table, this.#header[section]! * LINE_BYTES, sizeBytes / 4);
  }

  /** Adds a notice and returns its ordinal for `addRule`. */
  addNotice(notice: RuleNotice): number {
    const { answer, categories } = this.#options;
    const header = this.#header;
    const ordinal = header[HEADER.NOTICE_COUNT]!;
    const templatesBytes = header[HEADER.TEMPLATES_BYTES]!;
    const { bytes, row } = composeNoticeTemplates(answer, categories, notice, templatesBytes);
    const rows = this.#wordsOf(HEADER.NOTICES_LINE);
    if ((ordinal + 1) * NOTICE_WORDS > rows.length || ordinal >= MAX_NOTICES) this.#full = true;
    this.#append(HEADER.TEMPLATES_LINE, HEADER.TEMPLATES_BYTES, bytes);
    this.#append(HEADER.DESCRIPTION_LINE, HEADER.DESCRIPTION_BYTES, composeLine(notice));
    if (this.#full) return ordinal;
    rows.set(row, ordinal * NOTICE_WORDS);
    header[HEADER.NOTICE_COUNT] = ordinal + 1;
    return ordinal;
  }

  /**
   * Adds one rule, as `RuleTableBuilder.addRule` does.
   *
   * @throws {WartaError} `name-invalid`.
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
    const rootAt = writeRuleName(name, this.#name, 0);
    hashName(this.#name, 0, rootAt, this.#header[HEADER.SEED_A]! | 0, this.#header[HEADER.SEED_B]! | 0, this.#hash);
    const slot = this.#findSlot(rootAt);
    const record = this.#slots[slot * 2 + 1]! - 1;
    this.#collectRules(record, notice, [
      clampSeconds(notBefore),
      clampSeconds(notAfter),
      entry,
      composeBits(trigger, action, notice),
    ]);
    const at = this.#placeRecord(record, rootAt + 1);
    if (this.#full) return;
    if (record < 0) this.#registerName();
    else this.#retire(record);
    this.#writeRecord(at, rootAt + 1);
    this.#slots[slot * 2] = this.#hash.second;
    this.#slots[slot * 2 + 1] = at + 1;
    this.#header[HEADER.RULE_COUNT]! += 1;
  }

  /** Adds the address of a page, as `RuleTableBuilder.addPage` does. */
  addPage(entry: number, url: string, anyQuery: boolean): void {
    this.#append(HEADER.PAGES_LINE, HEADER.PAGES_BYTES, composePage(entry, url, anyQuery));
  }

  /** Returns the new table, or `undefined` when not everything fitted. Use the patch no more afterwards. */
  finish(): SharedArrayBuffer | undefined {
    return this.#full ? undefined : this.#table;
  }

  /** Gives every rule of these notices an empty window. */
  #endNotices(ordinals: readonly number[]): void {
    const records = this.#records;
    const ended = new Uint8Array(this.#header[HEADER.NOTICE_COUNT]!);
    for (const ordinal of ordinals) ended[ordinal] = 1;
    const end = this.#header[HEADER.RECORD_WORDS]!;
    let endedRules = 0;
    for (let at = 0; at < end; at = this.#endOf(at)) {
      const rulesEnd = at + 1 + records[at]! * RULE_WORDS;
      for (let rule = at + 1; rule < rulesEnd; rule += RULE_WORDS) {
        if (records[rule + RULE.NOT_AFTER] === 0 || ended[records[rule + RULE.BITS]! >>> NOTICE_SHIFT] === 0) continue;
        records[rule + RULE.NOT_BEFORE] = 0;
        records[rule + RULE.NOT_AFTER] = 0;
        endedRules++;
      }
    }
    this.#header[HEADER.RULE_COUNT]! -= endedRules;
  }

  /** Returns where the record after the one at `at` begins. */
  #endOf(at: number): number {
    const name = at + 1 + this.#records[at]! * RULE_WORDS;
    return name + wordsOf(findRoot(this.#recordBytes, name * 4) + 1 - name * 4);
  }

  /** Returns the slot of the name in hand, or the empty one where it belongs. */
  #findSlot(rootAt: number): number {
    const slotCount = this.#header[HEADER.SLOT_COUNT]!;
    const slots = this.#slots;
    let slot = reduceTo(this.#hash.first, slotCount);
    for (let record = slots[slot * 2 + 1]!; record !== 0; record = slots[slot * 2 + 1]!) {
      if (slots[slot * 2] === this.#hash.second && this.#isNameOf(record - 1, rootAt)) return slot;
      slot = slot + 1 === slotCount ? 0 : slot + 1;
    }
    return slot;
  }

  #isNameOf(record: number, rootAt: number): boolean {
    const name = (record + 1 + this.#records[record]! * RULE_WORDS) * 4;
    for (let i = 0; i <= rootAt; i++) if (this.#recordBytes[name + i] !== this.#name[i]) return false;
    return true;
  }

  /** Puts together the rules of a record (-1 for none) that did not end, and a new one where its notice's rank belongs. */
  #collectRules(record: number, notice: number, words: readonly number[]): void {
    const { ranks } = this.#options;
    const records = this.#records;
    const rules = this.#rules;
    rules.length = 0;
    let placed = false;
    const rulesEnd = record < 0 ? 0 : record + 1 + records[record]! * RULE_WORDS;
    for (let rule = record + 1; rule < rulesEnd; rule += RULE_WORDS) {
      if (records[rule + RULE.NOT_AFTER] === 0) continue;
      if (!placed && ranks[records[rule + RULE.BITS]! >>> NOTICE_SHIFT]! > ranks[notice]!) {
        rules.push(...words);
        placed = true;
      }
      for (let word = 0; word < RULE_WORDS; word++) rules.push(records[rule + word]!);
    }
    if (!placed) rules.push(...words);
  }

  /** Returns where the record in hand goes: in place of the last one when it is that one grown, else behind the last. */
  #placeRecord(record: number, nameBytes: number): number {
    const header = this.#header;
    const used = header[HEADER.RECORD_WORDS]!;
    const at = record >= 0 && this.#endOf(record) === used ? record : used;
    const end = at + 1 + this.#rules.length + wordsOf(nameBytes);
    const nameFits = record >= 0 || header[HEADER.NAME_COUNT]! < header[HEADER.NAME_CAPACITY]!;
    if (!nameFits || end > this.#records.length) this.#full = true;
    else header[HEADER.RECORD_WORDS] = end;
    return at;
  }

  /** Counts a name that is new to the table. */
  #registerName(): void {
    addToFilter(this.#filter, this.#header[HEADER.FILTER_BLOCKS]!, this.#hash.first, this.#hash.second);
    this.#header[HEADER.NAME_COUNT]! += 1;
    this.#header[HEADER.MAX_LABELS] = Math.max(this.#header[HEADER.MAX_LABELS]!, countLabels(this.#name, 0));
  }

  /** Empties the rules of a record that is written once more: nothing leads to it, but `#endNotices` passes it. */
  #retire(record: number): void {
    const rulesEnd = record + 1 + this.#records[record]! * RULE_WORDS;
    for (let rule = record + 1; rule < rulesEnd; rule += RULE_WORDS) this.#records[rule + RULE.NOT_AFTER] = 0;
  }

  #writeRecord(at: number, nameBytes: number): void {
    const rules = this.#rules;
    this.#records[at] = rules.length / RULE_WORDS;
    this.#records.set(rules, at + 1);
    const name = (at + 1 + rules.length) * 4;
    this.#recordBytes.fill(0, name, name + wordsOf(nameBytes) * 4);
    this.#recordBytes.set(this.#name.subarray(0, nameBytes), name);
  }

  /** Appends bytes to a section if there is room. */
  #append(section: (typeof SECTIONS)[number], used: number, bytes: Uint8Array): void {
    const end = this.#header[used]! + bytes.length;
    if (end > capacityOf(this.#header, section)) this.#full = true;
    if (this.#full) return;
    this.#octets.set(bytes, this.#header[section]! * LINE_BYTES + this.#header[used]!);
    this.#header[used] = end;
  }

  /** Writes the serial of this patch into the SOA record. */
  #replaceSoa(): void {
    const soa = composeSoaTemplate(this.#options.answer, this.#options.builtAtSeconds);
    if (soa.length !== this.#header[HEADER.SOA_BYTES]) this.#full = true;
    else this.#octets.set(soa, this.#header[HEADER.TEMPLATES_LINE]! * LINE_BYTES);
  }

  #replaceSource(): void {
    this.#header[HEADER.SOURCE_BYTES] = 0;
    this.#append(HEADER.SOURCE_LINE, HEADER.SOURCE_BYTES, Buffer.from(this.#options.source));
  }
}
