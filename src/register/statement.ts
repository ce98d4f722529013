import { z } from 'zod';
import { canonicalName, digest, entryId, instant, language, licenceNumber, reference, slug, text } from './fields.ts';
import { parseInstant } from './time.ts';

/** Largest envelope file, and so the largest log leaf. */
export const STATEMENT_MAX_BYTES = 64 * 1024;

/** Most entries of one notice. */
export const ANNEX_MAX_ENTRIES = 1_000_000;

/** What is longer is looked at by way of the schema. */
const COMMON_HEARTBEAT_MAX_BYTES = 1024;

/** Largest annex file. */
export const ANNEX_MAX_BYTES = 512 * 1024 * 1024;

const entryIds = z.array(entryId).min(1).max(1000);

/** What every statement carries. `reasons.sealed` is the salted digest of reasons that are not public. */
const common = {
  version: z.literal(1),
  authority: slug,
  reference,
  signedAt: instant,
  reasons: z.strictObject({ public: text(8000), sealed: digest.optional() }),
};

/** A notice, or some of its entries. */
const noticeTarget = z.strictObject({ notice: digest, entries: entryIds.optional() });

/** A programme: every notice of an instrument, those signed later included. */
const instrumentTarget = z.strictObject({ instrument: slug });

/** Every notice of a category. */
const categoryTarget = z.strictObject({ category: slug });

const approval = z.strictObject({ officer: slug, role: slug, at: instant });

const noticeSchema = z
  .strictObject({
    type: z.literal('notice'),
    ...common,
    instrument: slug,
    requestedBy: text(200).optional(),
    category: slug,
    tags: z.array(slug).max(16),
    offence: text(500),
    /** Digests of evidence, never material. */
    evidence: z.array(digest).max(256),
    /** Salted digest of a referral to the police. */
    referral: digest.optional(),
    recipients: z.union([
      z.strictObject({ all: z.literal(true) }),
      z.strictObject({ licensees: z.array(licenceNumber).min(1).max(1000) }),
    ]),
    networks: z.array(text(100)).min(1).max(64).optional(),
    territory: text(100),
    dates: z.strictObject({
      made: instant,
      approved: instant,
      served: instant.optional(),
      effectiveFrom: instant,
      complyBy: instant.optional(),
      reviewBy: instant.optional(),
    }),
    term: z.union([z.strictObject({ expires: instant }), z.strictObject({ untilRevoked: z.literal(true) })]),
    proportionality: z.strictObject({
      alternatives: text(2000),
      sourceTakedown: z.strictObject({ asked: z.boolean(), detail: text(2000) }),
      ownerWarned: z.strictObject({ warned: z.boolean(), detail: text(2000) }),
      coTenants: text(2000),
      balance: text(2000),
    }),
    redress: z.strictObject({
      body: text(200),
      contacts: z
        .array(z.string().regex(/^(?:tel|mailto):[\x21-\x7e]{1,200}$/, 'expected tel: or mailto:'))
        .min(1)
        .max(8),
      address: text(500),
      withinDays: z.int().min(1).max(3650),
    }),
    languages: z.array(language).min(1).max(8),
    /**
     * A page cannot be told apart on HTTPS. `block-host` closes HTTPS to the whole host of every entry of scope `url`; without
     * it such an entry holds on HTTP alone.
     */
    https: z.literal('block-host').optional(),
    draftedBy: slug,
    approvals: z.array(approval).min(1).max(8),
    overrides: z.array(z.strictObject({ check: slug, officer: slug, reason: text(1000) })).max(64),
    supersedes: z.array(digest).min(1).max(16).optional(),
    annex: z.strictObject({
      digest,
      entries: z.int().min(1).max(ANNEX_MAX_ENTRIES),
      sizeBytes: z.int().min(1).max(ANNEX_MAX_BYTES),
      sealed: z.boolean(),
    }),
  })
  .refine(
    (notice) =>
      new Set([notice.draftedBy, ...notice.approvals.map(({ officer }) => officer)]).size ===
      notice.approvals.length + 1,
    {
      path: ['approvals'],
      message: 'every approval needs an officer of its own, and never the one who drafted',
    },
  );

/** Whether a period that has an end ends after it starts. */
function endsAfterStart(period: { from: string; until?: string }): boolean {
  return period.until === undefined || period.until > period.from;
}

const PERIOD = { path: ['until'], message: 'must be after from' };

const staySchema = z
  .strictObject({
    type: z.literal('stay'),
    ...common,
    target: z.union([noticeTarget, instrumentTarget]),
    from: instant,
    until: instant.optional(),
    order: z.strictObject({ by: text(200), reference: text(200) }),
  })
  .refine(endsAfterStart, PERIOD);

const resumptionSchema = z.strictObject({ type: z.literal('resumption'), ...common, target: digest, from: instant });

const variationSchema = z
  .strictObject({
    type: z.literal('variation'),
    ...common,
    notice: digest,
    from: instant,
    remove: entryIds.optional(),
    exclude: z
      .array(z.strictObject({ entry: entryId, names: z.array(canonicalName).min(1).max(100) }))
      .min(1)
      .max(1000)
      .optional(),
    expires: z
      .array(z.strictObject({ entry: entryId, at: instant }))
      .min(1)
      .max(1000)
      .optional(),
    expiresAt: instant.optional(),
  })
  .refine((change) => Boolean(change.remove ?? change.exclude ?? change.expires ?? change.expiresAt), {
    message: 'needs one of remove, exclude, expires, expiresAt',
  });

const revocationSchema = z.strictObject({
  type: z.literal('revocation'),
  ...common,
  notice: digest,
  entries: entryIds.optional(),
  from: instant,
});

const exemptionSchema = z
  .strictObject({
    type: z.literal('exemption'),
    ...common,
    licensee: licenceNumber,
    scope: z.union([noticeTarget, instrumentTarget, categoryTarget]),
    from: instant,
    until: instant,
    conditions: text(4000),
    request: z.strictObject({ reference: text(200), receivedAt: instant }),
  })
  .refine(endsAfterStart, PERIOD);

const haltSchema = z
  .strictObject({ type: z.literal('halt'), ...common, instrument: slug, from: instant, until: instant.optional() })
  .refine(endsAfterStart, PERIOD);

const heartbeatSchema = z.strictObject({ type: z.literal('heartbeat'), ...common, at: instant });

/**
 * The spelling of nearly every heartbeat, which a long log has mostly: no escape, nothing sealed. A payload that matches is
 * canonical as it stands (keys sorted, none twice); only its times are left to check.
 */
const COMMON_HEARTBEAT =
  /^\{"at":"([0-9TZ:-]{20})","authority":"([a-z0-9][a-z0-9.-]{0,63})","reasons":\{"public":"([ !#-[\]-~]{1,8000})"\},"reference":"([A-Za-z0-9][A-Za-z0-9 ()./_-]{0,119})","signedAt":"([0-9TZ:-]{20})","type":"heartbeat","version":1\}$/;

/** Returns what the payload of a common heartbeat says; `undefined` for any other, which needs the schema. */
export function readCommonHeartbeat(payload: Buffer): Heartbeat | undefined {
  if (payload.length > COMMON_HEARTBEAT_MAX_BYTES) return undefined;
  const common = COMMON_HEARTBEAT.exec(payload.toString('latin1'));
  if (common === null) return undefined;
  const [, at, authority, reasons, reference, signedAt] = common;
  if (parseInstant(at) === undefined || parseInstant(signedAt) === undefined) return undefined;
  return { type: 'heartbeat', version: 1, authority, reference, signedAt, at, reasons: { public: reasons } };
}

/** Every statement an officer can sign. Unknown keys are refused: what is signed is what is understood. */
export const statementSchema = z.discriminatedUnion('type', [
  noticeSchema,
  staySchema,
  resumptionSchema,
  variationSchema,
  revocationSchema,
  exemptionSchema,
  haltSchema,
  heartbeatSchema,
]);

/** A statement as parsed. Times stay RFC 3339 text that the schema has checked; read them with `secondsOf`. */
export type Statement = z.output<typeof statementSchema>;

/** A statutory notice. */
export type Notice = z.output<typeof noticeSchema>;

/** A sign of life. */
export type Heartbeat = Extract<Statement, { type: 'heartbeat' }>;

/** A statement that changes others or grants something, that is every type but notice and heartbeat. */
export type Change = Exclude<Statement, { type: 'notice' | 'heartbeat' }>;

/** What a reader of the register needs of a notice once it is verified: all that decides what is in force, and how it answers. */
export interface KeptNotice
  extends Pick<
    Notice,
    'type' | 'authority' | 'reference' | 'instrument' | 'category' | 'recipients' | 'supersedes' | 'https'
  > {
  readonly dates?: Pick<Notice['dates'], 'reviewBy'>;
  readonly annex: Notice['annex'];
  readonly approvals: readonly Pick<Notice['approvals'][number], 'officer'>[];
  readonly redress: Pick<Notice['redress'], 'contacts'>;
}

/** A change without the text that nothing is decided by. */
export type KeptChange = WithoutReasons<Change>;

/** A heartbeat changes nothing: whose it was is all that is asked of it, and what a report names it by. */
export type KeptHeartbeat = Pick<Heartbeat, 'type' | 'authority'> & Partial<Pick<Heartbeat, 'reference'>>;

/** What is needed of any statement once it is verified. Every whole statement is one too. */
export type KeptStatement = KeptNotice | KeptChange | KeptHeartbeat;

type WithoutReasons<S> = S extends Statement ? Omit<S, 'reasons'> : never;

/**
 * Returns what is needed of a verified statement: a notice of 5 kB comes down to one. `share` returns the first value equal
 * to the one it is given, so that what a hundred thousand notices have in common is kept once.
 */
export function keepStatement(statement: Statement, share: <T>(value: T) => T): KeptStatement {
  if (statement.type === 'heartbeat') {
    const { type, authority } = statement;
    return share({ type, authority });
  }
  if (statement.type !== 'notice') {
    const { reasons: _, ...kept } = statement;
    return kept;
  }
  const { type, reference, supersedes, annex, https, dates } = statement;
  return {
    type,
    reference,
    annex,
    ...(supersedes === undefined ? {} : { supersedes }),
    ...(https === undefined ? {} : { https }),
    ...(dates.reviewBy === undefined ? {} : { dates: share({ reviewBy: dates.reviewBy }) }),
    authority: share(statement.authority),
    instrument: share(statement.instrument),
    category: share(statement.category),
    recipients: share(statement.recipients),
    approvals: share(statement.approvals.map(({ officer }) => ({ officer }))),
    redress: share({ contacts: statement.redress.contacts }),
  };
}

/** What a change applies to: a notice (or some entries of it), or everything under an instrument or in a category. */
export interface Reach {
  readonly notice?: string;
  readonly entries?: readonly string[];
  readonly instrument?: string;
  readonly category?: string;
}

/** Returns what a change applies to; `undefined` for a resumption, which names another change instead. */
export function reachOf(change: KeptChange): Reach | undefined {
  switch (change.type) {
    case 'stay':
      return change.target;
    case 'exemption':
      return change.scope;
    case 'halt':
      return { instrument: change.instrument };
    case 'revocation':
      return { notice: change.notice, entries: change.entries };
    case 'variation':
      return { notice: change.notice, entries: variedEntries(change) };
    case 'resumption':
      return undefined;
  }
}

/** Returns the ids of entries a variation names one by one. */
function variedEntries(change: Pick<z.output<typeof variationSchema>, 'remove' | 'exclude' | 'expires'>): string[] {
  const excluded = (change.exclude ?? []).map(({ entry }) => entry);
  const shortened = (change.expires ?? []).map(({ entry }) => entry);
  return [...(change.remove ?? []), ...excluded, ...shortened];
}
