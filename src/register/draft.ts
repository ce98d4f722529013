import { parse } from 'yaml';
import { z } from 'zod';
import { describeError, WartaError } from '../base/errors.ts';
import { type Annex, composeAnnex, ENTRY_ACTIONS, type EntryDraft } from './annex.ts';
import { composeCanonical } from './canonical.ts';
import { entryId, parseWith } from './fields.ts';
import { STATEMENT_MAX_BYTES, type Statement, statementSchema } from './statement.ts';
import { DAY_SECONDS, formatInstant, parseInstant } from './time.ts';

/** What drafting takes from outside. */
export interface DraftOptions {
  readonly nowSeconds: number;
  /** Returns that many unpredictable bytes (for salts). */
  readonly random: (sizeBytes: number) => Uint8Array;
}

/** A draft made exact: the bytes to sign, and for a notice the annex to publish beside it. */
export interface Draft {
  readonly statement: Statement;
  readonly payload: Buffer;
  readonly annex?: Annex;
}

/** Longest statement: in base64 and with a few signatures it must still fit the envelope's limit. */
export const PAYLOAD_MAX_BYTES = Math.floor(((STATEMENT_MAX_BYTES - 4096) * 3) / 4);

const extras = { id: entryId.optional(), expires: z.string().optional() };

const action = z.enum(ENTRY_ACTIONS).optional();

/** How names are listed: a bare name is exact, as the narrowest scope is the default. */
export const listedName = z.union([
  z.string().transform((exact) => ({ raw: exact, scope: 'exact' as const })),
  z
    .strictObject({ exact: z.string(), action, ...extras })
    .transform(({ exact, ...rest }) => ({ raw: exact, scope: 'exact' as const, ...rest })),
  z
    .strictObject({ subtree: z.string(), exclude: z.array(z.string()).optional(), action, ...extras })
    .transform(({ subtree, exclude, ...rest }) => ({
      raw: subtree,
      scope: 'subtree' as const,
      excludes: exclude,
      ...rest,
    })),
  z
    .strictObject({ url: z.string(), query: z.literal('any').optional(), ...extras })
    .transform(({ url, ...rest }) => ({ raw: url, scope: 'url' as const, ...rest })),
]);

const namesSchema = z.array(listedName).min(1, 'list at least one name');

/** Keys whose text is a time. */
const TIME_KEYS = new Set(
  'signedAt made approved served effectiveFrom complyBy reviewBy expires expiresAt from until at receivedAt'.split(' '),
);

/**
 * Completes a friendly draft (YAML or JSON). Written as the statement itself, but for three liberties: a time may be `now`
 * or a span such as `30d`, `12h`, `15m`, counted from `dates.effectiveFrom` (or `from`, or now); `version` and `signedAt`
 * may be left out; and a notice lists `names` (and `sealed: true`) where the statement has `annex`.
 *
 * @throws {WartaError} `statement-malformed` or `annex-malformed`, naming the key.
 */
export function composeDraft(source: string, options: DraftOptions): Draft {
  const { fields, names, sealed } = readDraft(source, options.nowSeconds);
  if (fields.type !== 'notice') return finishStatement({ ...fields, ...pick({ names, sealed }) });
  const annex = composeAnnex(parseNames(names), options.random);
  const { digest, entries, bytes } = annex;
  const terms = { digest, entries, sizeBytes: bytes.length, sealed: sealed ?? false };
  return { ...finishNotice(fields, terms), annex };
}

/** A friendly draft with its times made exact, not yet judged: its fields, and what stands for the annex. */
export interface DraftReading {
  readonly fields: Record<string, unknown>;
  readonly names: unknown;
  readonly sealed: unknown;
}

/**
 * Reads a friendly draft (YAML or JSON) and makes its times exact.
 *
 * @throws {WartaError} `statement-malformed` when it is neither.
 */
export function readDraft(source: string, nowSeconds: number): DraftReading {
  const { names, sealed, ...fields } = resolveFields(parseYaml(source), nowSeconds);
  return { fields, names, sealed };
}

/** Makes the times of a friendly draft exact and gives it a version and a time of signing, unless it has them. */
export function resolveFields(draft: Record<string, unknown>, nowSeconds: number): Record<string, unknown> {
  const resolved = resolveTimes(draft, findAnchor(draft, nowSeconds), nowSeconds) as Record<string, unknown>;
  return { version: 1, signedAt: formatInstant(nowSeconds), ...resolved };
}

/**
 * Reads the names of a draft.
 *
 * @throws {WartaError} `statement-malformed`, naming the key.
 */
export function parseNames(names: unknown): EntryDraft[] {
  return parseWith(namesSchema, names, 'statement-malformed', 'draft: names') as EntryDraft[];
}

/**
 * Completes a notice whose annex is composed already, and so keeps its salts.
 *
 * @throws {WartaError} `statement-malformed`, `statement-oversized`.
 */
export function finishNotice(fields: Record<string, unknown>, annex: Record<string, unknown>): Draft {
  return finishStatement({ ...completeNotice(fields), annex });
}

/** Adds what a notice has and a draft may leave out. */
export function completeNotice(fields: Record<string, unknown>): Record<string, unknown> {
  return { tags: [], evidence: [], overrides: [], ...fields };
}

/** Leaves out what is undefined. */
function pick(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/**
 * Checks a statement and composes the bytes to sign.
 *
 * @throws {WartaError} `statement-malformed`, `statement-oversized`.
 */
export function finishStatement(value: Record<string, unknown>): Draft {
  const statement = parseWith(statementSchema, value, 'statement-malformed', 'draft');
  const payload = composeCanonical(statement);
  if (payload.length > PAYLOAD_MAX_BYTES) {
    throw new WartaError(
      'statement-oversized',
      `the statement has ${payload.length} bytes, ${PAYLOAD_MAX_BYTES} at most: shorten it`,
    );
  }
  return { statement, payload };
}

/** Parses YAML, of which JSON is a part, into an object. */
function parseYaml(source: string): Record<string, unknown> {
  let value: unknown;
  try {
    // JSON is YAML too, and a list of a million names is read a hundred times faster as what it is.
    value = source.trimStart().startsWith('{') ? JSON.parse(source) : parse(source);
  } catch (cause) {
    throw new WartaError('statement-malformed', `draft: ${describeError(cause)}`, { cause });
  }
  return parseWith(z.record(z.string(), z.unknown()), value, 'statement-malformed', 'draft');
}

/** Returns the time that spans are counted from. */
function findAnchor(draft: Record<string, unknown>, nowSeconds: number): number {
  const { effectiveFrom } = (draft.dates ?? {}) as Record<string, unknown>;
  const start = effectiveFrom ?? draft.from ?? 'now';
  return parseInstant(String(resolveTime(start, nowSeconds, nowSeconds))) ?? nowSeconds;
}

/** The keys that give the anchor: a span in one of them counts from now. */
const ANCHOR_KEYS = new Set(['effectiveFrom', 'from']);

/** Copies a draft with its times made exact. */
function resolveTimes(value: unknown, anchor: number, nowSeconds: number, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => resolveTimes(item, anchor, nowSeconds));
  if (typeof value !== 'object' || value === null) {
    if (!TIME_KEYS.has(key)) return value;
    return resolveTime(value, ANCHOR_KEYS.has(key) ? nowSeconds : anchor, nowSeconds);
  }
  const resolved = Object.entries(value).map(([name, item]) => [name, resolveTimes(item, anchor, nowSeconds, name)]);
  return Object.fromEntries(resolved);
}

const UNIT_SECONDS = { d: DAY_SECONDS, h: 3600, m: 60 };

/** Makes `now` or a span exact; leaves anything else for the schema to judge. */
function resolveTime(value: unknown, anchor: number, nowSeconds: number): unknown {
  if (value === 'now') return formatInstant(nowSeconds);
  const span = typeof value === 'string' ? /^(\d{1,5})([dhm])$/.exec(value) : null;
  if (span === null) return value;
  return formatInstant(anchor + Number(span[1]) * UNIT_SECONDS[span[2] as 'd' | 'h' | 'm']);
}
