import { z } from 'zod';
import {
  canonicalName,
  digest,
  entryId,
  language,
  licenceNumber,
  reference,
  slug,
  text,
} from '../../register/fields.ts';
import { parseInstant } from '../../register/time.ts';
import { CHANGE_COLLECTIONS } from '../access/permissions.ts';
import type { Json } from '../store.ts';

/** Where drafts of each type are, by the first part of the path. */
export const COLLECTIONS = { notices: 'notice', ...CHANGE_COLLECTIONS } as const;

/** The first part of a path below `/v1`. */
export type DraftCollection = keyof typeof COLLECTIONS;

/** A type of statement that people draft; a heartbeat is the log's own. */
export type DraftType = (typeof COLLECTIONS)[DraftCollection];

/** A time in a draft: exact, `now`, or a span counted from when the statement takes effect. */
const when = z
  .string()
  .max(20)
  .refine((value) => /^(?:now|\d{1,5}[dhm])$/.test(value) || parseInstant(value) !== undefined, {
    message: 'expected a time such as 2026-03-01T09:00:00Z, now, or a span such as 30d, 12h, 15m',
  })
  .describe('A time such as 2026-03-01T09:00:00Z, `now`, or a span such as 30d, 12h, 15m');

const entryIds = z.array(entryId).min(1).max(1000);
const noticeTarget = z.strictObject({ notice: digest, entries: entryIds.optional() });
const instrumentTarget = z.strictObject({ instrument: slug });
const reasons = z.strictObject({ public: text(8000), sealed: digest }).partial();

/** What a notice says, as far as people write it. `dates.approved`, who drafted and who approved are the server's to say. */
const noticeShape = {
  reasons,
  instrument: slug,
  requestedBy: text(200),
  category: slug,
  tags: z.array(slug).max(16),
  offence: text(500),
  evidence: z.array(digest).max(256),
  referral: digest,
  recipients: z.union([
    z.strictObject({ all: z.literal(true) }),
    z.strictObject({ licensees: z.array(licenceNumber).min(1).max(1000) }),
  ]),
  networks: z.array(text(100)).min(1).max(64),
  territory: text(100),
  dates: z.strictObject({ made: when, served: when, effectiveFrom: when, complyBy: when, reviewBy: when }).partial(),
  term: z.union([z.strictObject({ expires: when }), z.strictObject({ untilRevoked: z.literal(true) })]),
  proportionality: z
    .strictObject({
      alternatives: text(2000),
      sourceTakedown: z.strictObject({ asked: z.boolean(), detail: text(2000) }).partial(),
      ownerWarned: z.strictObject({ warned: z.boolean(), detail: text(2000) }).partial(),
      coTenants: text(2000),
      balance: text(2000),
    })
    .partial(),
  redress: z
    .strictObject({
      body: text(200),
      contacts: z
        .array(z.string().regex(/^(?:tel|mailto):[\x21-\x7e]{1,200}$/, 'expected tel: or mailto:'))
        .min(1)
        .max(8),
      address: text(500),
      withinDays: z.int().min(1).max(3650),
    })
    .partial(),
  languages: z.array(language).min(1).max(8),
  https: z
    .literal('block-host')
    .describe('Closes HTTPS to the whole host of every page listed; without it pages hold on HTTP alone'),
  supersedes: z.array(digest).min(1).max(16),
};

/** What a draft of each type may say. */
const SHAPES = {
  notice: noticeShape,
  stay: {
    reasons,
    target: z.union([noticeTarget, instrumentTarget]),
    from: when,
    until: when,
    order: z.strictObject({ by: text(200), reference: text(200) }).partial(),
  },
  resumption: { reasons, target: digest, from: when },
  variation: {
    reasons,
    notice: digest,
    from: when,
    remove: entryIds,
    exclude: z
      .array(z.strictObject({ entry: entryId, names: z.array(canonicalName).min(1).max(100) }))
      .min(1)
      .max(1000),
    expires: z
      .array(z.strictObject({ entry: entryId, at: when }))
      .min(1)
      .max(1000),
    expiresAt: when,
  },
  revocation: { reasons, notice: digest, entries: entryIds, from: when },
  exemption: {
    reasons,
    licensee: licenceNumber,
    scope: z.union([noticeTarget, instrumentTarget, z.strictObject({ category: slug })]),
    from: when,
    until: when,
    conditions: text(4000),
    request: z.strictObject({ reference: text(200), receivedAt: when }).partial(),
  },
  halt: { reasons, instrument: slug, from: when, until: when },
} satisfies Record<DraftType, z.ZodRawShape>;

/** A draft as it comes in: what is its own record's, and the fields of the statement. */
export interface DraftInput {
  readonly reference?: string;
  readonly sealed?: boolean;
  /** Null takes a field out. */
  readonly body: Readonly<Record<string, Json>>;
}

/** What opens a draft of a type: a reference, and as much of the rest as is known. */
export function createSchemaOf(type: DraftType) {
  return z
    .strictObject({ reference, ...sealedOf(type), ...optional(SHAPES[type]) })
    .describe(`A ${type} in drafting: what is missing may be added until it is proposed`);
}

/** What changes a draft: each key replaces the one that was there, null takes it out. */
export function patchSchemaOf(type: DraftType) {
  const nullable = Object.fromEntries(Object.entries(SHAPES[type]).map(([key, field]) => [key, field.nullable()]));
  return z.strictObject({ reference: reference.optional(), ...sealedOf(type), ...optional(nullable) });
}

function sealedOf(type: DraftType) {
  return type === 'notice' ? { sealed: z.boolean().optional().describe('Names are for enrolled nodes alone') } : {};
}

function optional(shape: z.ZodRawShape): z.ZodRawShape {
  return Object.fromEntries(Object.entries(shape).map(([key, field]) => [key, (field as z.ZodType).optional()]));
}

/** Takes what a schema above has accepted apart. */
export function splitInput(parsed: unknown): DraftInput {
  const { reference: number, sealed, ...body } = parsed as { reference?: string; sealed?: boolean };
  return { reference: number, sealed, body: body as Record<string, Json> };
}
