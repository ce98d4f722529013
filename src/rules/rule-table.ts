import { WartaError } from '../base/errors.ts';
import { LOWER } from '../dns/name.ts';
import { mayContain } from './bloom-filter.ts';
import {
  HEADER,
  HEADER_WORDS,
  LINE_BYTES,
  NO_END,
  NO_RULE,
  NOTICE_SHIFT,
  RULE,
  RULE_BIT,
  RULE_WORDS,
  STEERING_DELAY_SECONDS,
  TABLE_MAGIC,
  TABLE_VERSION,
} from './layout.ts';
import { findRoot } from './rule-record.ts';
import {
  CASE_MASK,
  finishFirst,
  finishSecond,
  hashName,
  LANE_A,
  LANE_B,
  reduceTo,
  type SuffixHash,
} from './suffix-hash.ts';
import { weighTable } from './table-weight.ts';

/** What an answer says about one notice; kept in the table's description. */
export interface RuleNotice {
  /** Public reference, shown in EDE EXTRA-TEXT; at most 120 bytes of UTF-8. */
  reference: string;
  /** Category id of the pack; a metric label. */
  category: string;
  /** Display name of the authority. */
  authority: string;
  /** `tel:` and `mailto:` URIs of redress, for structured errors. */
  contacts: readonly string[];
  /** What the notice page says besides; of notices that lead anyone to it. */
  page?: NoticeFacts;
}

/** What the notice page says of a notice besides what its answers say; times in seconds since the epoch. */
export interface NoticeFacts {
  /** Id of the instrument in the pack. */
  instrument: string;
  fromSeconds: number;
  reviewBySeconds?: number;
  /** What is blocked must not be shown. */
  sealed?: true;
  /** HTTPS to the hosts of its pages is closed. */
  blocksHttps?: true;
}

/** A listed page: the number of its entry, its address in WHATWG's spelling, and whether any query will do. */
export interface TablePage {
  entry: number;
  url: string;
  anyQuery: boolean;
}

/** The part of a table that is read seldom. */
export interface TableDescription {
  categories: readonly string[];
  notices: readonly RuleNotice[];
  source: string;
}

/** More labels than a name can have: 255 octets hold at most 127. */
const MAX_LABELS = 128;

/**
 * A read-only view of a compiled table, with the scratch memory of one reader. Views are cheap: each thread makes its own
 * over the same SharedArrayBuffer.
 */
export class RuleTable {
  readonly buffer: SharedArrayBuffer;
  readonly ruleCount: number;
  /** Distinct names, also those whose rules have all ended: what the filter holds. */
  readonly nameCount: number;
  readonly noticeCount: number;
  readonly sizeBytes: number;
  readonly filterBlocks: number;
  /** When the table was compiled, seconds since the epoch. */
  readonly builtAtSeconds: number;
  readonly bytes: Uint8Array;

  /** Octets of the last match: where the covering suffix starts in the message. */
  matchedOffset = 0;
  /** After `findRule`: the rule in force that steers this very name to the gateway, or `NO_RULE`. Any other rule goes before it. */
  steeredRule = NO_RULE;
  /** Second until which the last answer holds: the rule's end, or the start of another rule known to follow. */
  matchedUntil = NO_END;
  /** Filter hits that the exact table refuted so far: the measured false positives. */
  filterFalseHits = 0;
  /** Filter probes so far. */
  filterProbes = 0;

  readonly #words: Uint32Array;
  readonly #seedA: number;
  readonly #seedB: number;
  readonly #maxLabels: number;
  readonly #filter: Uint32Array;
  readonly #slots: Uint32Array;
  readonly #slotCount: number;
  readonly #records: Uint32Array;
  /** The same memory as octets, for the names. */
  readonly #recordBytes: Uint8Array;
  readonly #notices: Uint32Array;
  readonly #templates: number;
  readonly #hash: SuffixHash = { first: 0, second: 0 };
  readonly #labelStarts = new Int32Array(MAX_LABELS);
  /** Block rules in force that cover the name so far: rule, entry and offset of the suffix, shortest suffix first. */
  readonly #candidates: number[] = [];
  /** Entries that a passthru took out of the last match. */
  readonly #excluded: number[] = [];
  #excludedCount = 0;
  #candidateCount = 0;
  #startBySeconds = 0;
  #endBySeconds = 0;

  /**
   * Takes a view of a compiled table.
   *
   * @throws {WartaError} `table-foreign` when it is no table of this version.
   */
  constructor(buffer: SharedArrayBuffer) {
    const words = new Uint32Array(buffer, 0, Math.min(HEADER_WORDS, buffer.byteLength >>> 2));
    if (words[HEADER.MAGIC] !== TABLE_MAGIC || words[HEADER.VERSION] !== TABLE_VERSION) {
      throw new WartaError('table-foreign', 'this is no rule table of this version: compile it again');
    }
    if (words[HEADER.TOTAL_LINES]! * LINE_BYTES !== buffer.byteLength) {
      throw new WartaError('table-damaged', 'the rule table is cut short: compile it again');
    }
    const section = (line: number, count: number) => new Uint32Array(buffer, words[line]! * LINE_BYTES, count);
    weighTable(buffer);
    this.buffer = buffer;
    this.bytes = new Uint8Array(buffer);
    this.ruleCount = words[HEADER.RULE_COUNT]!;
    this.nameCount = words[HEADER.NAME_COUNT]!;
    this.noticeCount = words[HEADER.NOTICE_COUNT]!;
    this.filterBlocks = words[HEADER.FILTER_BLOCKS]!;
    this.sizeBytes = buffer.byteLength;
    this.builtAtSeconds = words[HEADER.BUILT_AT]!;
    this.#words = words;
    this.#seedA = words[HEADER.SEED_A]! | 0;
    this.#seedB = words[HEADER.SEED_B]! | 0;
    this.#maxLabels = words[HEADER.MAX_LABELS]!;
    this.#filter = section(HEADER.FILTER_LINE, (this.filterBlocks * LINE_BYTES) / 4);
    this.#slotCount = words[HEADER.SLOT_COUNT]!;
    this.#slots = section(HEADER.SLOTS_LINE, this.#slotCount * 2);
    this.#records = section(HEADER.RECORDS_LINE, words[HEADER.RECORD_WORDS]!);
    this.#recordBytes = new Uint8Array(buffer, this.#records.byteOffset, this.#records.byteLength);
    this.#notices = section(HEADER.NOTICES_LINE, this.noticeCount * 4);
    this.#templates = words[HEADER.TEMPLATES_LINE]! * LINE_BYTES;
  }

  /**
   * Sets the time at which the next matches are judged, in seconds since the epoch. A rule applies when it has started by
   * `startBySeconds` and has not ended by `endBySeconds`. The two are the same but after a clock step: then the earlier
   * time judges starts and the later one ends, so that neither direction of the step blocks a name too long or too soon.
   */
  setTime(startBySeconds: number, endBySeconds: number): void {
    this.#startBySeconds = startBySeconds;
    this.#endBySeconds = endBySeconds;
  }

  /** The time by which ends are judged, seconds since the epoch. */
  get nowSeconds(): number {
    return this.#endBySeconds;
  }

  /**
   * Returns the rule whose trigger covers the name at `offset`, or `NO_RULE`. The number means something to this table only.
   *
   * Longest match wins. A passthru cancels the block rules of its own entry only, so an exclusion narrows the entry it
   * belongs to and never another notice. `wire` holds an uncompressed, checked name (RFC 1035 §3.1, at most 255 octets) in
   * any case. Allocates nothing. A filter hit is only a hint: without the exact table an innocent name would be blocked
   * once in every thousand lookups.
   */
  findRule(wire: Uint8Array, offset: number): number {
    const starts = this.#labelStarts;
    let labels = 0;
    let end = offset;
    for (let size = wire[end]!; size !== 0; size = wire[end]!) {
      starts[labels++] = end;
      end += size + 1;
    }
    const rootAt = end;
    const filter = this.#filter;
    const blocks = this.filterBlocks;
    const last = labels > this.#maxLabels ? labels - this.#maxLabels : 0;
    let a = this.#seedA;
    let b = this.#seedB;
    this.#candidateCount = 0;
    this.#excludedCount = 0;
    this.steeredRule = NO_RULE;
    this.matchedUntil = NO_END;
    if (labels - 1 > last) this.filterProbes += labels - 1 - last;
    for (let label = labels - 1; label >= last; label--) {
      const start = starts[label]!;
      let i = end - 1;
      for (; i > start; i -= 2) {
        a = Math.imul(a ^ (wire[i]! & CASE_MASK), LANE_A);
        b = Math.imul(b ^ (wire[i - 1]! & CASE_MASK), LANE_B);
      }
      if (i === start) a = Math.imul(a ^ (wire[i]! & CASE_MASK), LANE_A);
      end = start;
      if (label === labels - 1) continue; // a single label is never a rule
      const first = finishFirst(a, b);
      const second = finishSecond(a, b);
      if (mayContain(filter, blocks, first, second)) this.#probe(wire, start, rootAt, first, second, label === 0);
    }
    return this.#candidateCount === 0 ? NO_RULE : this.#longestMatch();
  }

  /**
   * Returns the rule that covers the name at `target` of `name`, which the name at `qname` of `wire` is an alias of, or
   * `NO_RULE`. Entries that the QNAME is an exclusion of do not count: it must stay reachable, whatever it is an alias of.
   */
  findTargetRule(name: Uint8Array, target: number, wire: Uint8Array, qname: number): number {
    if (this.findRule(name, target) === NO_RULE) return NO_RULE;
    this.findRule(wire, qname);
    const exempt = this.#excluded.slice(0, this.#excludedCount);
    const rule = this.findRule(name, target);
    if (exempt.length === 0) return rule;
    for (const entry of exempt) this.#cancel(entry);
    return this.#candidateCount === 0 ? NO_RULE : this.#longestMatch();
  }

  /** Looks the suffix `wire[start, rootAt]` up in the exact table and takes up its rules. */
  #probe(wire: Uint8Array, start: number, rootAt: number, first: number, second: number, whole: boolean): void {
    const record = this.#findRecord(wire, start, rootAt, first, second);
    if (record < 0) this.filterFalseHits++;
    else this.#collect(record, start, whole);
  }

  /** Returns the record of the name `wire[start, rootAt]` with this hash, or -1. */
  #findRecord(wire: Uint8Array, start: number, rootAt: number, first: number, second: number): number {
    const slots = this.#slots;
    let slot = reduceTo(first, this.#slotCount);
    for (;;) {
      const record = slots[slot * 2 + 1]! - 1;
      if (record < 0 || (slots[slot * 2] === second && this.#sameName(record, wire, start, rootAt))) return record;
      slot++;
      if (slot === this.#slotCount) slot = 0;
    }
  }

  /** Compares a record's name with `wire[start, rootAt]` octet by octet, ASCII letters in any case. */
  #sameName(record: number, wire: Uint8Array, start: number, rootAt: number): boolean {
    const bytes = this.#recordBytes;
    const name = (record + 1 + this.#records[record]! * RULE_WORDS) * 4;
    for (let i = start, j = name; i <= rootAt; i++, j++) {
      if (LOWER[wire[i]!] !== bytes[j]) return false;
    }
    return true;
  }

  /** Adds the block rules of a matched name that are in force to the candidates; passthru rules remove theirs. */
  #collect(record: number, start: number, whole: boolean): void {
    const records = this.#records;
    const end = record + 1 + records[record]! * RULE_WORDS;
    for (let rule = record + 1; rule < end; rule += RULE_WORDS) {
      const bits = records[rule + RULE.BITS]!;
      if (!whole && (bits & RULE_BIT.SUBTREE) === 0) continue;
      const notBefore = records[rule + RULE.NOT_BEFORE]!;
      if (notBefore > this.#startBySeconds) {
        if (notBefore < this.matchedUntil) this.matchedUntil = notBefore;
        continue;
      }
      if (records[rule + RULE.NOT_AFTER]! <= this.#endBySeconds) continue;
      if ((bits & RULE_BIT.PASSTHRU) !== 0) this.#cancel(records[rule + RULE.ENTRY]!);
      else if ((bits & RULE_BIT.STEER) !== 0) this.#steer(rule, notBefore);
      else this.#push(rule, records[rule + RULE.ENTRY]!, start);
    }
  }

  #steer(rule: number, notBefore: number): void {
    const hasSettled = notBefore + STEERING_DELAY_SECONDS <= this.#startBySeconds;
    if (hasSettled && this.steeredRule === NO_RULE) this.steeredRule = rule;
  }

  #push(rule: number, entry: number, start: number): void {
    const at = this.#candidateCount * 3;
    this.#candidates[at] = rule;
    this.#candidates[at + 1] = entry;
    this.#candidates[at + 2] = start;
    this.#candidateCount++;
  }

  /** Removes the candidates of one entry. */
  #cancel(entry: number): void {
    this.#excluded[this.#excludedCount++] = entry;
    const candidates = this.#candidates;
    const count = this.#candidateCount;
    this.#candidateCount = 0;
    for (let i = 0; i < count; i++) {
      const rule = candidates[i * 3]!;
      const start = candidates[i * 3 + 2]!;
      const owner = candidates[i * 3 + 1]!;
      if (owner !== entry) this.#push(rule, owner, start);
    }
  }

  /** Picks the candidate with the longest suffix, the earliest notice among equals. */
  #longestMatch(): number {
    const candidates = this.#candidates;
    let best = this.#candidateCount - 1;
    while (best > 0 && candidates[(best - 1) * 3 + 2] === candidates[best * 3 + 2]) best--;
    const rule = candidates[best * 3]!;
    this.matchedOffset = candidates[best * 3 + 2]!;
    const notAfter = this.#records[rule + RULE.NOT_AFTER]!;
    if (notAfter < this.matchedUntil) this.matchedUntil = notAfter;
    return rule;
  }

  /** Whether the rule says that neither the name nor anything below it exists: a block of a subtree, not a redirect. */
  denies(rule: number): boolean {
    return (this.#records[rule + RULE.BITS]! & (RULE_BIT.SUBTREE | RULE_BIT.REDIRECT)) === RULE_BIT.SUBTREE;
  }

  /** Whether the rule covers everything below its name as well. */
  isSubtree(rule: number): boolean {
    return (this.#records[rule + RULE.BITS]! & RULE_BIT.SUBTREE) !== 0;
  }

  /** Whether the names it covers are led to the notice page. */
  isRedirect(rule: number): boolean {
    return (this.#records[rule + RULE.BITS]! & RULE_BIT.REDIRECT) !== 0;
  }

  /** Returns every rule that steers this very name, in force or not. */
  findSteering(wire: Uint8Array, offset: number): number[] {
    const rootAt = findRoot(wire, offset);
    hashName(wire, offset, rootAt, this.#seedA, this.#seedB, this.#hash);
    const record = this.#findRecord(wire, offset, rootAt, this.#hash.first, this.#hash.second);
    if (record < 0) return [];
    const end = record + 1 + this.#records[record]! * RULE_WORDS;
    const rules: number[] = [];
    for (let rule = record + 1; rule < end; rule += RULE_WORDS) {
      if ((this.#records[rule + RULE.BITS]! & RULE_BIT.STEER) !== 0) rules.push(rule);
    }
    return rules;
  }

  /** Number of the rule's notice in the description. */
  noticeOf(rule: number): number {
    return this.#records[rule + RULE.BITS]! >>> NOTICE_SHIFT;
  }

  /** Number of the rule's category in the description. */
  categoryOf(rule: number): number {
    return this.#notices[this.noticeOf(rule) * 4]!;
  }

  /** Ordinal of the rule's entry, as the builder was given it. */
  entryOf(rule: number): number {
    return this.#records[rule + RULE.ENTRY]!;
  }

  /** The rule's time window, seconds since the epoch; `notAfter` may be `NO_END`. */
  windowOf(rule: number): { notBefore: number; notAfter: number } {
    return { notBefore: this.#records[rule + RULE.NOT_BEFORE]!, notAfter: this.#records[rule + RULE.NOT_AFTER]! };
  }

  /** Offset and length of the SOA template in `bytes`. */
  get soaOffset(): number {
    return this.#templates;
  }

  get soaBytes(): number {
    return this.#words[HEADER.SOA_BYTES]!;
  }

  /** Offset in `bytes` of a notice's OPT templates: plain, structured, brief, one after another. */
  optOffset(notice: number): number {
    return this.#templates + this.#notices[notice * 4 + 1]!;
  }

  plainOptBytes(notice: number): number {
    return this.#notices[notice * 4 + 2]!;
  }

  structuredOptBytes(notice: number): number {
    return this.#notices[notice * 4 + 3]! & 0xffff;
  }

  briefOptBytes(notice: number): number {
    return this.#notices[notice * 4 + 3]! >>> 16;
  }

  /** Category ids; a notice's category number is an index into it. */
  get categories(): readonly string[] {
    const [first] = this.#text(HEADER.DESCRIPTION_LINE, HEADER.DESCRIPTION_BYTES).split('\n', 1);
    return JSON.parse(first!) as string[];
  }

  /** Digest of everything the table was compiled from; tells whether a saved table is still the right one. */
  get source(): string {
    return this.#text(HEADER.SOURCE_LINE, HEADER.SOURCE_BYTES);
  }

  /** Yields every page that was ever listed since the table was built; whether it counts, its entry's rules say. */
  *pages(): Generator<TablePage> {
    const text = this.#text(HEADER.PAGES_LINE, HEADER.PAGES_BYTES);
    for (let at = 0; at < text.length; ) {
      const end = text.indexOf('\n', at);
      const [entry, url, any] = JSON.parse(text.slice(at, end)) as [number, string, 1?];
      yield { entry, url, anyQuery: any === 1 };
      at = end + 1;
    }
  }

  /** Parses the whole description. Not for the hot path. */
  describe(): TableDescription {
    const lines = this.#text(HEADER.DESCRIPTION_LINE, HEADER.DESCRIPTION_BYTES).trimEnd().split('\n');
    const [categories, ...notices] = lines.map((line) => JSON.parse(line) as unknown);
    return { categories: categories as string[], notices: notices as RuleNotice[], source: this.source };
  }

  /** Returns the text of a section. */
  #text(line: number, sizeBytes: number): string {
    const offset = this.#words[line]! * LINE_BYTES;
    return Buffer.from(this.bytes.slice(offset, offset + this.#words[sizeBytes]!)).toString();
  }
}
