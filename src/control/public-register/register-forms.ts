import { z } from 'zod';
import { ENTRY_ACTIONS, SCOPES } from '../../register/annex.ts';
import { STATEMENT_TYPES } from '../../register/authorities.ts';
import { digest, instant, licenceNumber, slug, text } from '../../register/fields.ts';
import { PAGE_HTTPS } from '../../register/pages.ts';
import { statementSchema } from '../../register/statement.ts';
import { publicAppealView } from '../appeals/appeal-forms.ts';
import { pageQuery } from '../http/route.ts';

const STANDINGS = ['scheduled', 'in-force', 'stayed', 'exempted', 'expired', 'revoked', 'superseded'] as const;

/** `q` is a part of the reference. */
export const noticeQuery = pageQuery.extend({
  state: z.enum(STANDINGS).optional(),
  category: slug.optional(),
  instrument: slug.optional(),
  authority: slug.optional(),
  q: text(120).optional(),
});

/** Which notices are listed. */
export type NoticeQuery = z.output<typeof noticeQuery>;

/** `limit` and `cursor` page through the entries. */
export const entryQuery = pageQuery.extend({ limit: z.coerce.number().int().min(1).max(1000).default(100) });

/** Which entries of a notice are listed. */
export type EntryQuery = z.output<typeof entryQuery>;

export const noticeParams = z.object({ id: digest });

export const nameParams = z.object({ name: text(300) });

export const nameQuery = z.object({ licensee: licenceNumber.optional() });

const standingView = z.object({
  state: z.enum(STANDINGS),
  since: instant,
  until: instant.optional(),
  entriesInForce: z.int(),
});

/** A notice in a list. */
export const listedNoticeView = z.object({
  id: digest,
  reference: z.string(),
  authority: slug,
  instrument: slug,
  category: slug,
  sealed: z.boolean(),
  entries: z.int(),
  effectiveFrom: instant,
  /** Absent for a notice until revoked. */
  expires: instant.optional(),
  reviewBy: instant.optional(),
  /** Its date of review has passed and nothing replaced it. */
  reviewOverdue: z.boolean(),
  standing: standingView,
  leafIndex: z.int(),
  integratedAt: instant,
});

/** A notice in a list. */
export type ListedNotice = z.output<typeof listedNoticeView>;

/** What is told of an entry besides its name. */
const entryTerms = {
  scope: z.enum(SCOPES),
  /** `redirect` leads to the notice page. */
  action: z.enum(ENTRY_ACTIONS),
  /** The one page that is blocked, where the entry is for a page. */
  url: z.string().optional(),
  /** `any`: that page whatever its query is; without it the query must be the same. */
  query: z.literal('any').optional(),
  /**
   * Of a page, what becomes of HTTPS to its host. `passed`: the page is blocked on HTTP alone, as on HTTPS no page can be told
   * apart. `closed`: the notice closes HTTPS to the whole host.
   */
  https: z.enum(PAGE_HTTPS).optional(),
};

const entryView = z.object({
  id: z.string(),
  name: z.string(),
  ...entryTerms,
  excludes: z.array(z.string()).optional(),
  expires: instant.optional(),
  state: z.enum(STANDINGS),
});

/** An entry of an open notice. */
export type ListedEntry = z.output<typeof entryView>;

const changeView = z.object({
  id: digest,
  type: z.enum(STATEMENT_TYPES),
  reference: z.string(),
  authority: slug,
  signers: z.array(slug),
  leafIndex: z.int(),
  integratedAt: instant,
  from: instant.optional(),
  until: instant.optional(),
  entries: z.array(z.string()).optional(),
  reasons: z.string().optional(),
});

/** A statement that changed a notice. */
export type ListedChange = z.output<typeof changeView>;

/** All that the public register says of a notice. */
export const noticeView = listedNoticeView.extend({
  /** The statement as signed, with its public reasons; absent while the log cannot be read. */
  statement: statementSchema.optional(),
  signers: z.array(slug),
  /** Absent for a sealed annex, and while the annex is not at hand. */
  annex: z.object({ items: z.array(entryView), next: z.string().optional() }).optional(),
  changes: z.array(changeView),
  appeals: z.array(publicAppealView),
  appealCount: z.int(),
});

/** All that the public register says of a notice. */
export type RegisterNotice = z.output<typeof noticeView>;

const nameMatchView = z.object({
  notice: z.object({ id: digest, reference: z.string(), authority: slug, category: slug }),
  entry: z.string(),
  entryName: z.string(),
  ...entryTerms,
  state: z.enum(STANDINGS),
  since: instant.optional(),
  until: instant.optional(),
  /** The name stays reachable though it lies below the entry. */
  excluded: z.boolean(),
  appeal: z.object({ file: z.string(), notice: digest, contacts: z.array(z.string()) }),
});

/** A notice that names what was asked for. */
export type NameMatch = z.output<typeof nameMatchView>;

/** `blocked`: an entry for the whole name is in force; one for a page of it alone does not count. */
export const nameView = z.object({ name: z.string(), blocked: z.boolean(), notices: z.array(nameMatchView) });

/** What the register says of a name. */
export type NameAnswer = z.output<typeof nameView>;
