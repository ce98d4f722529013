import { WartaError } from '../../base/errors.ts';
import { ProblemError } from '../http/problem.ts';
import type { RouteLimit } from '../http/route.ts';
import type { AppealRecord, Tables } from '../store.ts';
import type { PlacedNotice } from '../view/register-view.ts';
import { computeDeadlines, isLate } from './appeal-clocks.ts';
import { type AppealDesk, recordEvent } from './appeal-desk.ts';
import type { Filing } from './appeal-forms.ts';
import { createReference, createSecret, hashSecret } from './appeal-secret.ts';
import { OPEN_STATES } from './appeal-states.ts';
import { INTERNAL, viewAppeal } from './appeal-view.ts';
import { findNamedEntries, findNamedNotice } from './appealed-notice.ts';

/** How many appeals may wait, so that nobody buries the desk, or one notice, under appeals. */
export interface AppealBounds {
  /** Filed and not acknowledged yet, of all notices. */
  readonly unacknowledged: number;
  /** Undecided about one notice, for each standing: a flood of users leaves the owner her place. */
  readonly openPerNotice: number;
}

export const APPEAL_BOUNDS: AppealBounds = { unacknowledged: 2000, openPerNotice: 50 };

/** How often one address may file. A network may stand behind one: a few appeals an hour are nobody's flood. */
export const FILING_LIMIT: RouteLimit = { max: 10, windowSeconds: 3600, shared: true };

/** A filing that is in order and not taken all the same. */
export class FilingRefused extends WartaError {
  /** The appeal that is being heard on the same grounds; absent when too many appeals wait. */
  readonly same?: string;

  constructor(code: 'conflict' | 'request-limited', message: string, same?: string) {
    super(code, message);
    this.same = same;
  }
}

/** An appeal as it was filed. */
export interface FiledAppeal {
  readonly appeal: AppealRecord;
  readonly secret: string;
}

/**
 * Files an appeal. One that comes late is recorded all the same, and marked: whether it is heard is for law and reviewer.
 *
 * @throws {WartaError} `not-found` and `conflict` for the notice; `request-invalid` for entries that are not of an open
 *   notice; `conflict` for grounds that were filed before; `request-limited`.
 */
export async function fileAppeal(
  desk: AppealDesk,
  filing: Filing,
  bounds: AppealBounds = APPEAL_BOUNDS,
): Promise<FiledAppeal> {
  const { tables, services, nowSeconds, pack } = desk;
  const notice = findNamedNotice(services.register, filing.notice);
  const { ids, unknown } = findNamedEntries(services.register, notice, filing.entries ?? []);
  const { annex } = notice.verified.statement;
  if (unknown.length > 0 && !annex.sealed) throw strayEntries(unknown);
  await requireNewGrounds(tables, notice, filing);
  await requireRoom(tables, notice, filing, bounds);
  const secret = createSecret(services.random);
  const appeal: AppealRecord = {
    ...blankAppeal,
    id: createReference(services.random),
    secretHash: hashSecret(secret),
    noticeId: notice.verified.id,
    authority: notice.verified.statement.authority,
    entries: ids,
    standing: filing.standing,
    grounds: filing.grounds,
    contact: filing.contact ?? null,
    language: filing.language ?? null,
    late: isLate(pack, notice.verified.startSeconds, nowSeconds),
    filedSeconds: nowSeconds,
    ...computeDeadlines(pack, nowSeconds),
  };
  await tables.appeals.insert(appeal);
  await recordEvent(desk, appeal.id, { actor: 'appellant', kind: 'filed' });
  if (annex.sealed && filing.entries !== undefined) await keepNamesGiven(desk, appeal, filing.entries, unknown);
  const view = await viewAppeal(tables, services.register, appeal, nowSeconds, 'public');
  await services.events.emit(tables, 'appeal.filed', view);
  return { appeal, secret };
}

const blankAppeal = {
  state: 'filed',
  outcome: null,
  acknowledgedSeconds: null,
  assessedSeconds: null,
  decidedSeconds: null,
  withdrawnSeconds: null,
  reviewer: null,
  reasons: null,
  cure: null,
  curedSeconds: null,
  releaseDraftId: null,
  releaseBySeconds: null,
  eraseAfterSeconds: null,
  version: 1,
} as const satisfies Partial<AppealRecord>;

/** Of a sealed notice nobody learns by appealing whether a name is in it: staff see what was given, the appellant does not. */
async function keepNamesGiven(
  desk: AppealDesk,
  { id }: AppealRecord,
  given: readonly string[],
  unknown: readonly number[],
): Promise<void> {
  const lines = given.map((one, place) => `${one} (${unknown.includes(place) ? 'not in the annex' : 'in the annex'})`);
  await recordEvent(desk, id, {
    actor: 'appellant',
    kind: INTERNAL,
    privateNote: `Entries as given: ${lines.join(', ')}`,
  });
}

function strayEntries(places: readonly number[]): ProblemError {
  const errors = places.map((place) => ({ path: `body/entries/${place}`, message: 'is no entry of this notice' }));
  return new ProblemError('request-invalid', 'entries: some are not of this notice; leave them out', errors);
}

/** Requires grounds that no undecided appeal of the notice has: the same text filed a hundred times is one appeal. */
async function requireNewGrounds(tables: Tables, { verified }: PlacedNotice, { grounds }: Filing): Promise<void> {
  const where = { noticeId: verified.id, state: { in: OPEN_STATES } };
  let after: AppealRecord | undefined;
  do {
    const page: AppealRecord[] = await tables.appeals.list({ where, limit: 100, after });
    const same = page.find((appeal) => foldText(appeal.grounds) === foldText(grounds));
    if (same !== undefined) {
      const message = `an appeal on the same grounds is being heard as ${same.id}: follow that one`;
      throw new FilingRefused('conflict', message, same.id);
    }
    after = page.length < 100 ? undefined : page.at(-1);
  } while (after !== undefined);
}

/** Text without what makes two copies of it differ. */
function foldText(text: string): string {
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\s\p{P}\p{S}]+/gu, ' ')
    .trim();
}

async function requireRoom(
  tables: Tables,
  { verified }: PlacedNotice,
  { standing }: Filing,
  bounds: AppealBounds,
): Promise<void> {
  const open = await tables.appeals.count({ noticeId: verified.id, standing, state: { in: OPEN_STATES } });
  const waiting = open < bounds.openPerNotice ? await tables.appeals.count({ state: 'filed' }) : bounds.unacknowledged;
  if (waiting < bounds.unacknowledged) return;
  throw new FilingRefused(
    'request-limited',
    `too many appeals wait to be heard: try again later, or write to ${verified.statement.redress.contacts.join(', ')}`,
  );
}
