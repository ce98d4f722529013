import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { z } from 'zod';
import { WartaError } from '../base/errors.ts';
import { decodeUtf8, isCanonical } from './canonical.ts';
import { canonicaliseName, fitsWire, isBelow, isPlainName } from './entry-name.ts';
import { entryId, instant, text } from './fields.ts';
import { createSlab, findRoom, type Slab } from './slab.ts';
import { ANNEX_MAX_BYTES, ANNEX_MAX_ENTRIES } from './statement.ts';
import { formatInstant, NO_END_SECONDS, parseInstant, secondsOf } from './time.ts';

/** Longest line of an annex, its line feed not counted. */
export const LINE_MAX_BYTES = 4096;

/** What an entry covers: one name, a name and everything below it, or one address of a page. */
export const SCOPES = ['exact', 'subtree', 'url'] as const;

/** The scope of an entry. */
export type Scope = (typeof SCOPES)[number];

/** What becomes of a covered name: no address, or the address of the notice page. */
export const ENTRY_ACTIONS = ['block', 'redirect'] as const;

/** The action of an entry. */
export type EntryAction = (typeof ENTRY_ACTIONS)[number];

/** Secret bytes hashed before an entry, so that a sealed name cannot be guessed from a dictionary. */
const SALT_BYTES = 32;
const SALT_TEXT_LENGTH = 43;
const HASH_BYTES = 32;
const LINE_FEED = 10;

/** A line is HEAD, the canonical entry, MIDDLE, the salt in base64url, TAIL: fixed framing, so hashing needs no parser. */
const HEAD = Buffer.from('{"entry":');
const MIDDLE = Buffer.from(',"salt":"');
const TAIL = Buffer.from('"}');
const FRAME_END_BYTES = MIDDLE.length + SALT_TEXT_LENGTH + TAIL.length;

/** Returns where an annex lies in a register's tree; sealed ones are in a tree of their own, which no mirror has. */
export function annexPath(digest: string, sealed: boolean): string {
  return `${sealed ? 'sealed' : 'annex'}/${digest.slice(0, 2)}/${digest}.jsonl`;
}

/** An entry as it stands in an annex; `canonical` is the host name even when the scope is `url`. */
const entrySchema = z
  .strictObject({
    action: z.enum(ENTRY_ACTIONS),
    canonical: text(1024),
    excludes: z.array(text(253)).min(1).max(100).optional(),
    expires: instant.optional(),
    id: entryId,
    /** `any`: whatever the query of the page's address is; without it the query must be the same, or as absent. */
    query: z.literal('any').optional(),
    raw: text(1024),
    scope: z.enum(SCOPES),
    url: text(2048).optional(),
  })
  .superRefine((entry, context) => {
    const fault = findFault(entry);
    if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
  });

/** An entry of a notice. */
export type Entry = z.output<typeof entrySchema>;

/** Returns what makes the forms of an entry disagree, if anything does. */
function findFault(
  entry: Pick<z.input<typeof entrySchema>, 'action' | 'raw' | 'canonical' | 'scope' | 'url' | 'query' | 'excludes'>,
) {
  const forms = canonicaliseEntry(entry.raw, entry.scope);
  if (forms === undefined) return `${entry.raw} is no ${entry.scope === 'url' ? 'http(s) URL' : 'name'}`;
  if (forms.canonical !== entry.canonical) return `canonical form of ${entry.raw} is ${forms.canonical}`;
  if (forms.url !== entry.url) return `url form of ${entry.raw} is ${forms.url ?? 'absent'}`;
  if (entry.action === 'redirect' && entry.scope === 'url') return 'action redirect needs scope exact or subtree';
  if (entry.query !== undefined && entry.scope !== 'url') return 'query needs scope url';
  if (entry.excludes === undefined) return undefined;
  if (entry.scope !== 'subtree') return 'excludes needs scope subtree';
  const stray = entry.excludes.find((name) => !isExclusion(name, entry.canonical));
  return stray === undefined ? undefined : `exclusion ${stray} is not a canonical name below ${entry.canonical}`;
}

/** Whether `name` can be excluded from the subtree `apex`: canonical, fits the wire, strictly below. */
export function isExclusion(name: string, apex: string): boolean {
  return isBelow(name, apex) && canonicaliseName(name) === name && fitsWire(name);
}

/** Returns the canonical name, and for a URL its normal form, of what an officer wrote; `undefined` when it is neither. */
export function canonicaliseEntry(raw: string, scope: Scope): { canonical: string; url?: string } | undefined {
  if (scope !== 'url') {
    const canonical = canonicaliseName(raw);
    return canonical === undefined ? undefined : { canonical };
  }
  const url = URL.parse(raw);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') return undefined;
  const canonical = canonicaliseName(url.hostname);
  return canonical === undefined ? undefined : { canonical, url: url.href };
}

const NO_EXCLUDES: ReadonlyMap<number, readonly string[]> = new Map();
const NO_URLS: ReadonlyMap<number, PageUrl> = new Map();

/** The address of a page, in WHATWG's spelling, and whether its query is anything. */
export interface PageUrl {
  readonly url: string;
  readonly anyQuery: boolean;
}

/** Bits of an offset in the text, which is no longer than an annex; above are two for the scope and one for the action. */
const OFFSET_MASK = 0x1fffffff;
const SCOPE_SHIFT = 29;
const SCOPE_MASK = 3;
const REDIRECT_BIT = 0x80000000;
/** In the bits of what occurs, above those of the scopes. */
const REDIRECT_OCCURS = 1 << SCOPES.length;

/**
 * The entries of one annex in columns: a million of them take about 30 bytes each and give the garbage collector nothing
 * to visit, where a million objects take 200 and are copied twice while they are young. A table of few entries takes little
 * more than its text: what few tables have is made when it is needed.
 *
 * For each entry there are two words, where its id starts, and where its name does with the scope above; a last word says
 * where the text ends; the text follows.
 */
export class EntryTable {
  readonly count: number;
  #slab: Slab;
  /** Where the table starts in the slab, in words, and its text, in octets. */
  #placesAt = 0;
  #textAt: number;
  #expires: Uint32Array | undefined;
  #excludes: Map<number, readonly string[]> | undefined;
  #urls: Map<number, PageUrl> | undefined;
  /** A bit for each scope that occurs, and one for redirects. */
  #occurring = 0;
  #added = 0;

  /** `textBytes` bounds the bytes of all ids and names together. */
  constructor(count: number, textBytes: number) {
    this.count = count;
    this.#textAt = (2 * count + 1) * 4;
    this.#slab = createSlab(this.#textAt + textBytes);
  }

  /** Excluded names and addresses of pages by entry; few entries have them. */
  get excludes(): ReadonlyMap<number, readonly string[]> {
    return this.#excludes ?? NO_EXCLUDES;
  }

  get urls(): ReadonlyMap<number, PageUrl> {
    return this.#urls ?? NO_URLS;
  }

  /** Whether any entry leads to the notice page. */
  get redirects(): boolean {
    return (this.#occurring & REDIRECT_OCCURS) !== 0;
  }

  /** Which scopes occur. */
  get scopes(): Scope[] {
    return SCOPES.filter((_, number) => this.#occurring & (1 << number));
  }

  /** Appends an entry; ids and names are ASCII. Entries come in ascending order of id, which also proves them unique. */
  add(id: string, name: string, scope: Scope, expiresSeconds: number, action: EntryAction = 'block'): number {
    const { bytes, words } = this.#slab;
    const at = this.#added++;
    const idAt = words[2 * at];
    const nameAt = idAt + id.length;
    const number = SCOPES.indexOf(scope);
    bytes.write(id, this.#textAt + idAt, 'latin1');
    bytes.write(name, this.#textAt + nameAt, 'latin1');
    words[2 * at + 1] = nameAt | (number << SCOPE_SHIFT) | (action === 'redirect' ? REDIRECT_BIT : 0);
    words[2 * at + 2] = nameAt + name.length;
    this.#occurring |= (1 << number) | (action === 'redirect' ? REDIRECT_OCCURS : 0);
    if (expiresSeconds === NO_END_SECONDS) return at;
    this.#expires ??= new Uint32Array(this.count).fill(NO_END_SECONDS);
    this.#expires[at] = expiresSeconds;
    return at;
  }

  /** Gives an entry the names below it that stay reachable, and the address of its page. */
  annotate(at: number, excludes: readonly string[] | undefined, url: PageUrl | undefined): void {
    if (excludes !== undefined) {
      this.#excludes ??= new Map();
      this.#excludes.set(at, excludes);
    }
    if (url !== undefined) {
      this.#urls ??= new Map();
      this.#urls.set(at, url);
    }
  }

  /** Gives back what the bound of the constructor was too much, and moves what is left to where it can stay. */
  trim(): void {
    const { bytes, words } = this.#slab;
    const sizeBytes = this.#textAt + words[2 * this.#added];
    const { slab, at } = findRoom(sizeBytes);
    bytes.copy(slab.bytes, at, 0, sizeBytes);
    this.#slab = slab;
    this.#placesAt = at / 4;
    this.#textAt += at;
  }

  id(at: number): string {
    const { bytes, words } = this.#slab;
    const place = this.#placesAt + 2 * at;
    return bytes.toString('latin1', this.#textAt + words[place], this.#textAt + (words[place + 1] & OFFSET_MASK));
  }

  name(at: number): string {
    const { bytes, words } = this.#slab;
    const place = this.#placesAt + 2 * at + 1;
    return bytes.toString('latin1', this.#textAt + (words[place] & OFFSET_MASK), this.#textAt + words[place + 1]);
  }

  scope(at: number): Scope {
    return SCOPES[(this.#slab.words[this.#placesAt + 2 * at + 1] >>> SCOPE_SHIFT) & SCOPE_MASK];
  }

  action(at: number): EntryAction {
    return (this.#slab.words[this.#placesAt + 2 * at + 1] & REDIRECT_BIT) === 0 ? 'block' : 'redirect';
  }

  /** The entry's own expiry, or `NO_END_SECONDS`. */
  expiresSeconds(at: number): number {
    return this.#expires === undefined ? NO_END_SECONDS : this.#expires[at];
  }

  /** Returns the first entry with an expiry of its own after a time, or -1. */
  findExpiryAfter(seconds: number): number {
    return this.#expires?.findIndex((expires) => expires > seconds && expires !== NO_END_SECONDS) ?? -1;
  }

  /** Returns the position of an id, or -1. */
  indexOf(id: string): number {
    let low = 0;
    let high = this.#added;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.id(middle) < id) low = middle + 1;
      else high = middle;
    }
    return low < this.#added && this.id(low) === id ? low : -1;
  }
}

/** What stands for an annex in a signed notice. */
export interface AnnexLabel {
  readonly digest: string;
  readonly entries: number;
  readonly sizeBytes: number;
}

/** What the signed notice says about its annex. */
export interface AnnexTerms extends AnnexLabel {
  /** When the notice ends; no entry may end later. `NO_END_SECONDS` for a notice until revoked. */
  readonly endSeconds: number;
}

/** Called now and then with the entries read so far. */
export type OnEntries = (done: number) => void;

const PROGRESS_EVERY = 1 << 14;

/** The bytes of an annex that has the digest it should have, and where its lines end. */
export interface ProvenAnnex {
  readonly bytes: Buffer;
  readonly ends: Uint32Array;
}

/**
 * Verifies an annex against its notice and returns the entries. First the digest over the framed lines, so that nothing
 * unsigned is ever interpreted, then every entry; one bad line voids all.
 *
 * @throws {WartaError} `annex-oversized`, `annex-malformed` (framing, or an entry) or `annex-mismatch` (size, count, digest).
 */
export function parseAnnex(bytes: Uint8Array, terms: AnnexTerms, onEntries?: OnEntries): EntryTable {
  const entries = readEntries(proveAnnex(bytes, terms), onEntries);
  checkExpiries(entries, terms.endSeconds);
  return entries;
}

/**
 * Proves that bytes are the annex that a notice names; interprets no entry.
 *
 * @throws {WartaError} `annex-oversized`, `annex-malformed` (framing) or `annex-mismatch` (size, count, digest).
 */
export function proveAnnex(bytes: Uint8Array, label: AnnexLabel): ProvenAnnex {
  if (bytes.length > ANNEX_MAX_BYTES) throw new WartaError('annex-oversized', `the annex has ${bytes.length} bytes`);
  checkSize(bytes.length, label);
  const annex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const ends = findLines(annex, label.entries);
  if (hashAnnex(annex, ends) !== label.digest) {
    throw new WartaError('annex-mismatch', 'the annex is not the one that was signed: its digest differs');
  }
  return { bytes: annex, ends };
}

/**
 * Returns what a notice would say about these bytes if they were the annex with that digest.
 *
 * @throws {WartaError} `annex-oversized` for more lines than any annex has.
 */
export function labelBytes(bytes: Uint8Array, digest: string): AnnexLabel {
  let entries = 0;
  for (let at = bytes.indexOf(LINE_FEED); at >= 0; at = bytes.indexOf(LINE_FEED, at + 1)) {
    if (++entries > ANNEX_MAX_ENTRIES)
      throw new WartaError('annex-oversized', 'the annex has more than a million lines');
  }
  return { digest, entries, sizeBytes: bytes.length };
}

/** @throws {WartaError} `annex-mismatch` when the notice gives the annex another size. */
export function checkSize(sizeBytes: number, label: AnnexLabel): void {
  if (sizeBytes === label.sizeBytes) return;
  throw new WartaError('annex-mismatch', `the annex has ${sizeBytes} bytes, the notice says ${label.sizeBytes}`);
}

/** @throws {WartaError} `annex-malformed` when an entry ends after its notice. */
export function checkExpiries(entries: EntryTable, endSeconds: number): void {
  const late = entries.findExpiryAfter(endSeconds);
  if (late >= 0) throw malformed(late, `expires ${formatInstant(entries.expiresSeconds(late))}, after its notice`);
}

/** Returns where each line ends, after checking the framing and the number of lines. */
function findLines(annex: Buffer, count: number): Uint32Array {
  const ends = new Uint32Array(count);
  let at = 0;
  for (let line = 0; line < count; line++) {
    const end = annex.indexOf(LINE_FEED, at);
    if (end < 0) throw new WartaError('annex-mismatch', `the annex has ${line} whole lines, the notice says ${count}`);
    if (!isFramed(annex, at, end))
      throw new WartaError('annex-malformed', `annex line ${line + 1}: not an entry and a salt`);
    ends[line] = end;
    at = end + 1;
  }
  if (at !== annex.length)
    throw new WartaError('annex-mismatch', `the annex has more than the notice's ${count} entries`);
  return ends;
}

/** Whether the bytes from `at` to `end` are framed as a line must be. */
function isFramed(annex: Buffer, at: number, end: number): boolean {
  if (end - at > LINE_MAX_BYTES || end - at <= HEAD.length + FRAME_END_BYTES) return false;
  for (let byte = 0; byte < HEAD.length; byte++) if (annex[at + byte] !== HEAD[byte]) return false;
  const middle = end - FRAME_END_BYTES;
  for (let byte = 0; byte < MIDDLE.length; byte++) if (annex[middle + byte] !== MIDDLE[byte]) return false;
  return annex[end - 2] === TAIL[0] && annex[end - 1] === TAIL[1];
}

/** Value of each base64url character, 255 for the others. */
const BASE64URL = new Uint8Array(256).fill(255);
for (const [value, character] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'].entries()) {
  BASE64URL[character.charCodeAt(0)] = value;
}

/** Decodes the 43 characters at `at` into 32 bytes at `to`; false unless they are the one spelling of those bytes. */
function decodeSalt(annex: Buffer, at: number, into: Buffer, to: number): boolean {
  let bits = 0;
  let held = 0;
  for (let character = 0; character < SALT_TEXT_LENGTH; character++) {
    const value = BASE64URL[annex[at + character]];
    if (value === 255) return false;
    bits = (bits << 6) | value;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    into[to++] = bits >>> held;
    bits &= (1 << held) - 1;
  }
  return bits === 0;
}

/** What is hashed of one entry: a zero octet, the salt, the entry. Written anew for each. */
const LEAF = Buffer.alloc(1 + SALT_BYTES + LINE_MAX_BYTES);

/** Returns the digest of an annex: the RFC 6962 root over SHA-256(0x00 ‖ salt ‖ entry). */
function hashAnnex(annex: Buffer, ends: Uint32Array): string {
  const hashes = Buffer.allocUnsafeSlow(ends.length * HASH_BYTES);
  for (let line = 0, at = 0; line < ends.length; line++) {
    const middle = ends[line] - FRAME_END_BYTES;
    if (!decodeSalt(annex, middle + MIDDLE.length, LEAF, 1)) {
      throw new WartaError('annex-malformed', `annex line ${line + 1}: the salt is not 32 bytes in base64url`);
    }
    const size = annex.copy(LEAF, 1 + SALT_BYTES, at + HEAD.length, middle);
    // Text out of a one-shot hash is four times as fast as a Buffer out of it (0.3 against 1.2 µs): no object is made.
    hashes.write(hash('sha256', LEAF.subarray(0, 1 + SALT_BYTES + size), 'binary'), line * HASH_BYTES, 'latin1');
    at = ends[line] + 1;
  }
  return foldHashes(hashes, ends.length);
}

/**
 * Returns the RFC 6962 root of `count` leaf hashes, which it overwrites. Pairing level by level with an odd one carried up
 * gives the same tree as the RFC's split at the largest power of two.
 */
function foldHashes(hashes: Buffer, count: number): string {
  const node = Buffer.alloc(1 + 2 * HASH_BYTES, 1);
  for (let width = count; width > 1; width = (width + 1) >>> 1) {
    for (let pair = 0; pair < width >>> 1; pair++) {
      hashes.copy(node, 1, 2 * pair * HASH_BYTES, (2 * pair + 2) * HASH_BYTES);
      hashes.write(hash('sha256', node, 'binary'), pair * HASH_BYTES, 'latin1');
    }
    if (width & 1) hashes.copy(hashes, (width >>> 1) * HASH_BYTES, (width - 1) * HASH_BYTES, width * HASH_BYTES);
  }
  return hashes.toString('hex', 0, HASH_BYTES);
}

/**
 * The spelling of nearly every entry: no exclusion, no URL, no escape, raw form equal to the canonical one. A line that
 * matches is canonical as it stands (keys sorted, none twice); only its name and its time are left to check.
 */
const COMMON_ENTRY =
  /^\{"action":"(block|redirect)","canonical":"([a-z0-9._-]{1,1024})",(?:"expires":"([0-9TZ:-]{20})",)?"id":"([A-Za-z0-9._-]{1,64})","raw":"\2","scope":"(exact|subtree)"\}$/;

/** Octets of a line that are neither id nor name, at least. */
const LINE_REST_BYTES =
  HEAD.length + '{"action":"block","canonical":"","id":"","raw":"","scope":"url"}'.length + FRAME_END_BYTES + 1;

/**
 * Reads every entry of an annex into a table, in ascending order of id.
 *
 * @throws {WartaError} `annex-malformed`. As the bytes are proven, no other ones with that digest would do better.
 */
export function readEntries({ bytes, ends }: ProvenAnnex, onEntries?: OnEntries): EntryTable {
  const table = new EntryTable(ends.length, Math.max(0, bytes.length - ends.length * LINE_REST_BYTES));
  let previous = '';
  for (let line = 0, at = 0; line < ends.length; line++) {
    const id = readEntry(bytes, at + HEAD.length, ends[line] - FRAME_END_BYTES, line, table);
    if (id <= previous) throw malformed(line, `id ${id} is not after ${previous}: ids ascend and are unique`);
    previous = id;
    at = ends[line] + 1;
    if (line % PROGRESS_EVERY === 0) onEntries?.(line);
  }
  onEntries?.(ends.length);
  table.trim();
  return table;
}

/** Reads the entry between two offsets and returns its id. */
function readEntry(annex: Buffer, from: number, to: number, line: number, table: EntryTable): string {
  const common = COMMON_ENTRY.exec(annex.toString('latin1', from, to));
  if (common === null || !isPlainName(common[2])) return readRareEntry(annex.subarray(from, to), line, table);
  const expires = common[3] === undefined ? NO_END_SECONDS : parseInstant(common[3]);
  if (expires === undefined) throw malformed(line, 'expires: expected a time such as 2026-03-01T09:00:00Z');
  table.add(common[4], common[2], common[5] as Scope, expires, common[1] as EntryAction);
  return common[4];
}

/** Reads an entry that has anything out of the ordinary, by way of the schema. */
function readRareEntry(bytes: Buffer, line: number, table: EntryTable): string {
  const source = decodeUtf8(bytes);
  let value: unknown;
  try {
    value = JSON.parse(source ?? '');
  } catch {
    throw malformed(line, 'not JSON');
  }
  const result = entrySchema.safeParse(value);
  if (!result.success)
    throw malformed(line, `${result.error.issues[0].path.join('.')} ${result.error.issues[0].message}`);
  if (!isCanonical(value, source!)) throw malformed(line, 'not canonical JSON');
  const entry = result.data;
  const expires = entry.expires === undefined ? NO_END_SECONDS : secondsOf(entry.expires);
  const at = table.add(entry.id, entry.canonical, entry.scope, expires, entry.action);
  const page = entry.url === undefined ? undefined : { url: entry.url, anyQuery: entry.query === 'any' };
  table.annotate(at, entry.excludes, page);
  return entry.id;
}

/** The refusal of one line. */
function malformed(line: number, fault: string): WartaError {
  return new WartaError('annex-malformed', `annex line ${line + 1}: ${fault}`);
}

/** An entry to be: what an officer writes. Without an id it gets one from its position. */
export interface EntryDraft {
  readonly id?: string;
  readonly raw: string;
  readonly scope: Scope;
  /** `block` by default. */
  readonly action?: EntryAction;
  readonly query?: 'any';
  readonly excludes?: readonly string[];
  readonly expires?: string;
}

/** An annex file and what the notice must say about it. */
export interface Annex {
  readonly bytes: Buffer;
  readonly digest: string;
  readonly entries: number;
}

/**
 * Composes an annex file from drafted entries with a fresh salt for each. `random` returns that many bytes; salts must be
 * unpredictable, or a sealed name can be guessed.
 *
 * @throws {WartaError} `annex-malformed`, naming the entry.
 */
export function composeAnnex(drafts: readonly EntryDraft[], random: (sizeBytes: number) => Uint8Array): Annex {
  if (drafts.length === 0 || drafts.length > ANNEX_MAX_ENTRIES) {
    throw new WartaError(
      'annex-malformed',
      `a notice has 1 to ${ANNEX_MAX_ENTRIES} entries, this one ${drafts.length}`,
    );
  }
  const entries = drafts.map(composeEntry).sort((one, other) => (one.id < other.id ? -1 : one.id > other.id ? 1 : 0));
  const salts = Buffer.from(random(entries.length * SALT_BYTES));
  const chunks: Buffer[] = [];
  for (let at = 0; at < entries.length; at += LINES_PER_CHUNK) {
    const lines = entries.slice(at, at + LINES_PER_CHUNK).map((entry, line) => composeLine(entry, salts, at + line));
    chunks.push(Buffer.from(lines.join('')));
  }
  const bytes = Buffer.concat(chunks);
  if (bytes.length > ANNEX_MAX_BYTES)
    throw new WartaError('annex-oversized', 'the annex is too large: split the notice');
  const ends = findLines(bytes, entries.length);
  const digest = hashAnnex(bytes, ends);
  // Reading it back with the verifier's own code catches a repeated id or a line too long before anyone signs.
  readEntries({ bytes, ends });
  return { bytes, digest, entries: entries.length };
}

/** Lines joined into one piece of text: few enough for the longest string, many enough to be fast. */
const LINES_PER_CHUNK = 10_000;

/** Composes one line with the salt at its position. */
function composeLine(entry: Entry, salts: Buffer, at: number): string {
  const salt = salts.toString('base64url', at * SALT_BYTES, (at + 1) * SALT_BYTES);
  return `${HEAD}${canonicalize(entry)}${MIDDLE}${salt}${TAIL}\n`;
}

/** Completes a drafted entry with its canonical forms. */
function composeEntry(draft: EntryDraft, at: number): Entry {
  const forms = canonicaliseEntry(draft.raw, draft.scope);
  if (forms === undefined) {
    throw new WartaError(
      'annex-malformed',
      `entry ${at + 1}: ${draft.raw} is no ${draft.scope === 'url' ? 'URL' : 'name'}`,
    );
  }
  const excludes = draft.excludes?.map((name) => canonicaliseName(name) ?? name);
  return {
    action: draft.action ?? 'block',
    ...forms,
    excludes: excludes?.length === 0 ? undefined : excludes,
    expires: draft.expires,
    id: draft.id ?? `e${String(at + 1).padStart(7, '0')}`,
    query: draft.query,
    raw: draft.raw,
    scope: draft.scope,
  };
}
