import { WartaError } from '../../base/errors.ts';
import type { EntryTable } from '../../register/annex.ts';
import { exclusionsOf, type FoldedNotice, windowsOf } from '../../register/fold.ts';
import { DAY_SECONDS, formatInstant, NO_END_SECONDS } from '../../register/time.ts';
import type { KnownNotice } from '../../register/verify-statement.ts';
import type { ControlServices } from '../services.ts';
import type { AnnexRecord, DraftRecord, Json } from '../store.ts';
import type { PlacedNotice } from '../view/register-view.ts';
import { readAnnexLines } from './entries/annex-pages.ts';
import type { EntryComposer } from './entries/entry-composer.ts';
import { addresseeOf } from './preflight/register-facts.ts';

/** What a renewal starts from: the fields of the old notice, and an annex of its names with new salts. */
export interface Renewal {
  readonly body: { readonly [key: string]: Json };
  readonly sealed: boolean;
  readonly annex: AnnexRecord;
}

/** What a renewal is not for. */
const OVER = new Set(['revoked', 'superseded']);

/**
 * Prepares the renewal of a published notice: a new decision, so its dates are to be given anew. It takes up when the old
 * one ends, for as long. Names that were lifted meanwhile, or ended early, are left out, and exclusions that were added stay.
 *
 * @throws {WartaError} `draft-state` when the notice is not in the register, is over for good or has no name left.
 */
export async function prepareRenewal(
  services: Pick<ControlServices, 'register' | 'random'>,
  composer: EntryComposer,
  draft: DraftRecord,
  annex: AnnexRecord | undefined,
  nowSeconds: number,
): Promise<Renewal> {
  const { register, random } = services;
  const notice = draft.statementId === null ? undefined : register.findNotice(draft.statementId);
  const entries = notice && register.entriesOf(notice.verified.id);
  if (notice === undefined || entries === undefined) {
    throw new WartaError('draft-state', 'only a notice that the register holds can be renewed');
  }
  const standing = register.standingOf(notice.verified.id, nowSeconds);
  if (standing === undefined || OVER.has(standing.state)) {
    throw new WartaError('draft-state', `the notice is ${standing?.state}: draft a new one`);
  }
  const folded = foldAtEnd(services, notice, nowSeconds);
  const names = folded === undefined ? [] : listNames(folded, entries, annex, nowSeconds);
  if (names.length === 0) throw new WartaError('draft-state', 'none of its names is blocked any more: draft a new one');
  const list = Buffer.from(JSON.stringify(names));
  const {
    bytes,
    digest,
    entries: count,
  } = await composer.compose({
    bytes: list,
    type: 'application/json',
    seed: random(32),
  });
  return {
    body: composeBody(draft, notice, nowSeconds),
    sealed: draft.sealed,
    annex: { id: digest, entries: count, sizeBytes: bytes.length, bytes, createdSeconds: nowSeconds },
  };
}

/** The notice as it stands now, or as it stood at its end. */
function foldAtEnd(
  { register }: Pick<ControlServices, 'register'>,
  { verified }: PlacedNotice,
  nowSeconds: number,
): FoldedNotice<KnownNotice> | undefined {
  const atSeconds = Math.min(nowSeconds, verified.endSeconds - 1);
  return register.fold(addresseeOf(verified), atSeconds).find(({ notice }) => notice.id === verified.id);
}

/** Lists the names that still count as a draft does, as they were written where that is known. */
function listNames(
  folded: FoldedNotice<KnownNotice>,
  entries: EntryTable,
  annex: AnnexRecord | undefined,
  nowSeconds: number,
): object[] {
  const raws = new Map<string, string>();
  if (annex !== undefined) for (const { id, raw } of readAnnexLines(annex.bytes)) raws.set(id, raw);
  const atSeconds = Math.min(nowSeconds, folded.notice.endSeconds - 1);
  const names: object[] = [];
  for (let at = 0; at < entries.count; at++) {
    const id = entries.id(at);
    if (!windowsOf(folded, at).some(({ notAfter }) => notAfter > atSeconds)) continue;
    const expires = entries.expiresSeconds(at);
    const page = entries.urls.get(at);
    const exclude = [...new Set(exclusionsOf(folded, at).map(({ name }) => name))];
    names.push({
      [entries.scope(at)]: raws.get(id) ?? page?.url ?? entries.name(at),
      id,
      ...(entries.action(at) === 'redirect' && { action: 'redirect' }),
      ...(page?.anyQuery && { query: 'any' }),
      ...(exclude.length > 0 && { exclude }),
      ...(expires !== NO_END_SECONDS && expires > nowSeconds && { expires: formatInstant(expires) }),
    });
  }
  return names;
}

/** The fields of the renewal. */
function composeBody(
  { body: { dates, term, ...rest } }: DraftRecord,
  { verified }: PlacedNotice,
  nowSeconds: number,
): Renewal['body'] {
  const { id, startSeconds, endSeconds } = verified;
  const isOpen = endSeconds === NO_END_SECONDS;
  const start = isOpen ? nowSeconds : Math.max(nowSeconds, endSeconds);
  const days = Math.ceil((endSeconds - startSeconds) / DAY_SECONDS);
  return {
    ...rest,
    dates: { effectiveFrom: formatInstant(start) },
    term: isOpen ? { untilRevoked: true } : { expires: `${days}d` },
    supersedes: [id],
  };
}
