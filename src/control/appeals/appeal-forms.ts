import { z } from 'zod';
import { canonicalName, digest, entryId, instant, language, slug, text } from '../../register/fields.ts';

/** Most characters of a reference of a notice. */
export const NOTICE_MAX_LENGTH = 120;
/** Most characters of what an appellant may say. */
export const GROUNDS_MAX_LENGTH = 8000;
export const MESSAGE_MAX_LENGTH = 4000;
/** A statement has room for reasons of 8000 characters, and the appeal is named before them. */
const REASONS_MAX_LENGTH = 7000;
export const NAME_MAX_LENGTH = 2048;
export const ENTRIES_MAX = 100;

/** Why someone may appeal: her site, her access, her network. */
export const STANDINGS = ['owner', 'user', 'isp'] as const;

const STATES = ['filed', 'acknowledged', 'assessed', 'decided', 'withdrawn'] as const;

/** `upheld`: the notice stands. `varied`, `overturned`: it is narrowed or lifted. `rejected`: the appeal is not one to be heard. */
const OUTCOMES = ['upheld', 'varied', 'overturned', 'rejected'] as const;

const words = (max: number) =>
  text(max).refine((value) => value.trim() !== '', { message: 'expected more than blanks' });

/** How an appeal is filed. An e-mail address is never needed; `website` is a trap for programs that fill in every field. */
export const filingForm = z.strictObject({
  notice: text(NOTICE_MAX_LENGTH),
  entries: z.array(text(NAME_MAX_LENGTH)).min(1).max(ENTRIES_MAX).optional(),
  standing: z.enum(STANDINGS),
  grounds: words(GROUNDS_MAX_LENGTH),
  contact: z.email().max(254).optional(),
  language: language.optional(),
  website: z.literal('').optional(),
});

/** A filing as parsed. */
export type Filing = z.output<typeof filingForm>;

/** A message; what staff write goes to the appellant unless they say otherwise. */
export const messageForm = z.strictObject({
  text: words(MESSAGE_MAX_LENGTH),
  audience: z.enum(['appellant', 'staff', 'public']).optional(),
});

export const withdrawForm = z.strictObject({ reason: words(MESSAGE_MAX_LENGTH).optional() });

export const acknowledgeForm = z.strictObject({ note: words(MESSAGE_MAX_LENGTH).optional() });

const cure = words(2000);

/** `note` and `cure` are public. */
export const assessForm = z.strictObject({ note: words(MESSAGE_MAX_LENGTH).optional(), cure: cure.optional() });

/** What a release is about: some entries by their ids, or the whole notice; by default what was appealed. */
const extent = {
  entries: z.array(entryId).min(1).max(ENTRIES_MAX).optional(),
  whole: z.literal(true).optional(),
};

const reasons = words(REASONS_MAX_LENGTH);

export const stayForm = z.strictObject({
  ...extent,
  reasons,
  order: z.strictObject({ by: words(200), reference: words(200) }).optional(),
  until: instant.optional(),
});

/** What a varied decision changes, in the words of the statement that will say so. */
const variationForm = z
  .strictObject({
    remove: z.array(entryId).min(1).max(ENTRIES_MAX).optional(),
    exclude: z
      .array(z.strictObject({ entry: entryId, names: z.array(canonicalName).min(1).max(100) }))
      .min(1)
      .max(ENTRIES_MAX)
      .optional(),
    expires: z
      .array(z.strictObject({ entry: entryId, at: instant }))
      .min(1)
      .max(ENTRIES_MAX)
      .optional(),
    expiresAt: instant.optional(),
  })
  .refine((change) => Object.values(change).some((value) => value !== undefined), {
    message: 'needs one of remove, exclude, expires, expiresAt',
  });

/** What a varied decision changes. */
export type VariationTerms = z.output<typeof variationForm>;

export const decideForm = z
  .strictObject({
    outcome: z.enum(OUTCOMES),
    reasons,
    ...extent,
    variation: variationForm.optional(),
    cure: cure.optional(),
  })
  .superRefine((decision, context) => {
    const { outcome, entries, whole, variation } = decision;
    const refuse = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if (outcome !== 'overturned' && (entries ?? whole) !== undefined)
      refuse('entries', 'belongs to outcome overturned');
    if (outcome !== 'varied' && variation !== undefined) refuse('variation', 'belongs to outcome varied');
    if (outcome !== 'varied' && decision.cure !== undefined) refuse('cure', 'belongs to outcome varied');
    if (outcome === 'varied' && (variation === undefined) === (decision.cure === undefined)) {
      refuse('variation', 'outcome varied needs either variation or cure');
    }
  });

export const cureForm = z.strictObject({ ...extent, reasons });

export type StayTerms = z.output<typeof stayForm>;
export type Decision = z.output<typeof decideForm>;
export type CureTerms = z.output<typeof cureForm>;
/** What a release is about, as staff say it. */
export type Extent = Pick<StayTerms, 'entries' | 'whole'>;

export const referenceParams = z.object({ reference: text(40) });

/** What is answered to a filing. The secret is shown this once. */
export const filedView = z.object({
  reference: z.string(),
  secret: z.string(),
  acknowledgeBy: instant,
  assessBy: instant,
  decideBy: instant,
});

/** One clock of an appeal: by when something is due, when it was done, whether the time was missed. */
const clockView = z.object({ by: instant, at: instant.optional(), missed: z.boolean() });

const eventView = z.object({
  at: instant,
  kind: z.string(),
  by: z.enum(['appellant', 'authority']),
  note: z.string().optional(),
  /** For the appellant and staff alone. */
  message: z.string().optional(),
  /** For staff alone. */
  actor: z.string().optional(),
});

/** A statement that came out of an appeal. */
const outcomeStatementView = z.object({
  type: z.enum(['stay', 'variation', 'revocation', 'resumption', 'notice', 'exemption', 'halt']),
  state: z.enum(['in-preparation', 'published', 'abandoned']),
  id: digest.optional(),
  leafIndex: z.int().optional(),
  publishedAt: instant.optional(),
  /** For staff alone. */
  draft: z.object({ id: z.string(), state: z.string() }).optional(),
});

/** What anyone may see of an appeal: no contact, no grounds, nothing private, no entry of a sealed notice. */
export const publicAppealView = z.object({
  reference: z.string(),
  notice: z.object({ id: digest, reference: z.string().optional(), authority: slug, sealed: z.boolean() }),
  /** Ids; absent for the whole notice, and always for a sealed one. */
  entries: z.array(entryId).optional(),
  standing: z.enum(STANDINGS),
  state: z.enum(STATES),
  outcome: z.enum(OUTCOMES).optional(),
  reasons: z.string().optional(),
  cure: z.string().optional(),
  curedAt: instant.optional(),
  filedAt: instant,
  withdrawnAt: instant.optional(),
  /** Who hears it. */
  reviewer: slug.optional(),
  clocks: z.object({ acknowledge: clockView, assess: clockView, decide: clockView, release: clockView.optional() }),
  statements: z.array(outcomeStatementView),
  events: z.array(eventView),
});

/** The public view of an appeal. */
export type PublicAppeal = z.output<typeof publicAppealView>;

/** What appellant and staff see besides. */
export const appealView = publicAppealView.extend({
  late: z.boolean().optional(),
  language: z.string().optional(),
  grounds: z.string().optional(),
  contact: z.string().optional(),
  /** For staff alone: the version for If-Match, and the ids of entries of a sealed notice. */
  version: z.int().optional(),
  sealedEntries: z.array(entryId).optional(),
});

/** An appeal as its appellant or staff see it. */
export type Appeal = z.output<typeof appealView>;

/** An appeal in a list for staff: no events, nothing personal. */
export const listedAppealView = publicAppealView
  .omit({ events: true, statements: true })
  .extend({ late: z.boolean(), version: z.int() });

/** An appeal in a list. */
export type ListedAppeal = z.output<typeof listedAppealView>;

export const appealQuery = z.object({ state: z.enum(STATES).optional(), notice: digest.optional() });
