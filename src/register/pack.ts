import { parse } from 'yaml';
import { z } from 'zod';
import { describeError, WartaError } from '../base/errors.ts';
import { decodeUtf8, hashHex } from './canonical.ts';
import { canonicalName, language, parseWith, slug, text } from './fields.ts';

const days = z.int().min(1).max(3650);
const signatures = z.int().min(1).max(16);
const titles = z.record(language, text(200));

/** A kind of content a notice may be about. */
const categorySchema = z.strictObject({ id: slug, title: titles });

/**
 * A legal instrument: what it is called and how far it reaches. `maxDays` bounds every fixed term; `untilRevoked` is
 * present only where the law lets an order run until it is revoked, and then bounds the time to the next review.
 */
const instrumentSchema = z.strictObject({
  id: slug,
  act: text(200),
  section: text(50),
  title: text(300),
  term: z.strictObject({
    maxDays: days,
    untilRevoked: z.strictObject({ maxReviewDays: days }).optional(),
  }),
  categories: z.array(slug).min(1).max(64),
});

/**
 * A name that no notice may take down. `exact`: the name itself may not be blocked, by an exact entry or by a subtree
 * that covers it. `subtree`: nothing below it may be named either.
 */
const protectedNameSchema = z.strictObject({
  name: canonicalName,
  scope: z.enum(['exact', 'subtree']),
  reason: text(200),
});

/** Each has a value of its own, so that a pack that says nothing of the pre-flight has one all the same. */
const breakerSchema = z.strictObject({
  /** A notice of at most so many entries never trips it. */
  smallNotice: z.int().min(0).max(1_000_000).default(100),
  /** More entries than this. */
  absolute: z.int().min(1).max(1_000_000).default(5000),
  /** More than so many times the median of the authority's notices, once it has five. */
  timesMedian: z.number().min(1).max(10_000).default(10),
  /** More than this share of all that is in force, once that is ten small notices. */
  shareOfForcePercent: z.number().min(0.01).max(1000).default(20),
});

const preflightSchema = z.strictObject({
  /** Ranks of popular names. `file`: a list beside the pack, one name a line or rank and name, used when no other is given. */
  popular: z
    .strictObject({
      refuseTop: z.int().min(0).max(10_000_000).default(1000),
      thirdApproverTop: z.int().min(0).max(10_000_000).default(100_000),
      file: text(500).optional(),
    })
    .prefault({}),
  /** A notice this large is no routine. Ten times over any of the limits it is refused unless an officer overrides. */
  breaker: breakerSchema.prefault({}),
  /** Names that pages of others load files from: blocking one breaks sites that nobody meant. */
  sharedResources: z.array(canonicalName).max(100_000).default([]),
});

const packSchema = z
  .strictObject({
    id: slug,
    version: z.int().min(1),
    title: text(200),
    note: text(2000),
    categories: z.array(categorySchema).min(1).max(64),
    tags: z.array(categorySchema).max(64),
    instruments: z.array(instrumentSchema).min(1).max(64),
    thresholds: z.strictObject({ notice: signatures, release: signatures }),
    appeals: z.strictObject({
      fileWithinDays: days,
      acknowledgeWithinDays: days,
      assessWithinDays: days.optional(),
      decideWithinDays: days,
      releaseWithinHours: z.int().min(1).max(720),
      /** Where people file an appeal: notice pages link to it with `?notice=` and the reference. */
      formUrl: z
        .url({ protocol: /^https$/ })
        .max(500)
        .optional(),
      /** Days after an appeal is decided that its contact and grounds are erased. */
      eraseContactAfterDays: days.optional(),
    }),
    /** `stayOverdue`: a notice past its review date without a review is stayed by a statement. */
    reviews: z.strictObject({ stayOverdue: z.boolean() }).optional(),
    preflight: preflightSchema.prefault({}),
    protectedNames: z.array(protectedNameSchema).max(100_000),
    mediaNames: z.array(canonicalName).max(100_000),
    help: z.record(language, z.array(z.strictObject({ title: text(200), url: z.url().max(500) })).max(32)),
  })
  .superRefine((pack, context) => {
    const categories = new Set(pack.categories.map((category) => category.id));
    requireUnique(context, 'categories', pack.categories);
    requireUnique(context, 'tags', pack.tags);
    requireUnique(context, 'instruments', pack.instruments);
    pack.instruments.forEach((instrument, at) => {
      const unknown = instrument.categories.find((id) => !categories.has(id));
      if (unknown === undefined) return;
      context.addIssue({
        code: 'custom',
        path: ['instruments', at, 'categories'],
        message: `no category ${unknown} in this pack`,
      });
    });
  });

/** A policy pack: who may order what, under which law, for how long, and which names no notice may touch. */
export type Pack = z.output<typeof packSchema>;

/** One instrument of a pack. */
export type Instrument = Pack['instruments'][number];

/** Reports the second of two items with one id. */
function requireUnique(context: z.RefinementCtx, key: string, items: readonly { id: string }[]): void {
  const seen = new Set<string>();
  items.forEach(({ id }, at) => {
    if (seen.has(id)) context.addIssue({ code: 'custom', path: [key, at, 'id'], message: `${id} is given twice` });
    seen.add(id);
  });
}

/**
 * Parses a policy pack (YAML). `sha256` is the digest of the file's bytes, which authorities.json pins.
 *
 * @throws {WartaError} `pack-invalid`, naming the key.
 */
export function parsePack(bytes: Uint8Array | string): { pack: Pack; sha256: string } {
  const source = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
  const yaml = decodeUtf8(source);
  if (yaml === undefined) throw new WartaError('pack-invalid', 'policy pack: not UTF-8');
  let value: unknown;
  try {
    value = parse(yaml);
  } catch (cause) {
    throw new WartaError('pack-invalid', `policy pack: ${describeError(cause)}`, { cause });
  }
  return { pack: parseWith(packSchema, value, 'pack-invalid', 'policy pack'), sha256: hashHex(source) };
}
