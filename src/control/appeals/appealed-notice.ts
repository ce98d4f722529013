import { WartaError } from '../../base/errors.ts';
import { canonicaliseEntry } from '../../register/annex.ts';
import { ancestorsOf } from '../../register/entry-name.ts';
import { ProblemError } from '../http/problem.ts';
import type { PlacedNotice, RegisterView } from '../view/register-view.ts';

const DIGEST = /^[0-9a-f]{64}$/;

/**
 * Finds the notice that someone names by its id, or by its reference as a block page shows it.
 *
 * @throws {WartaError} `not-found`; `conflict` when several notices have the reference.
 */
export function findNamedNotice(register: RegisterView, named: string): PlacedNotice {
  const found = listNamedNotices(register, named);
  const [notice, another] = found;
  if (notice === undefined) {
    throw new WartaError('not-found', 'the register has no such notice: give its reference as the block page shows it');
  }
  if (another === undefined) return notice;
  const ids = found.slice(0, 8).map(({ verified }) => verified.id);
  throw new WartaError('conflict', `several notices have that reference: give the id of one, ${ids.join(' or ')}`);
}

/** Lists the notices that someone may mean by an id or a reference: none, one, or several with one reference. */
export function listNamedNotices(register: RegisterView, named: string): PlacedNotice[] {
  const found = DIGEST.test(named) ? [register.findNotice(named)] : findByReference(register, named.trim());
  return found.filter((one) => one !== undefined);
}

/** The reference is unique within an authority at best; there are few authorities. */
function findByReference(register: RegisterView, reference: string): (PlacedNotice | undefined)[] {
  return [...register.authorities.byId.keys()].flatMap((authority) =>
    register.findByReference(authority, reference).map(({ verified }) => register.findNotice(verified.id)),
  );
}

/** The entries that an appellant named. */
export interface NamedEntries {
  /** Ids of entries of the notice. */
  readonly ids: readonly string[];
  /** Places in what was given that are no entries of the notice. */
  readonly unknown: readonly number[];
}

/** Finds the entries of a notice that are meant by ids, names or addresses of pages. */
export function findNamedEntries(register: RegisterView, notice: PlacedNotice, named: readonly string[]): NamedEntries {
  const ids = new Set<string>();
  const unknown: number[] = [];
  named.forEach((one, place) => {
    const found = findEntry(register, notice, one.trim());
    if (found.length === 0) unknown.push(place);
    for (const id of found) ids.add(id);
  });
  return { ids: [...ids], unknown };
}

/** An id is taken as such first. A name means every entry with it, and subtrees that cover it. */
function findEntry(register: RegisterView, { verified }: PlacedNotice, named: string): string[] {
  const entries = register.entriesOf(verified.id);
  if (entries === undefined) return [];
  if (entries.indexOf(named) >= 0) return [named];
  const { canonical } = canonicaliseEntry(named, 'exact') ?? canonicaliseEntry(named, 'url') ?? {};
  if (canonical === undefined) return [];
  const own = placesOf(register, verified.id, canonical);
  const above = [...ancestorsOf(canonical)].flatMap((name) => placesOf(register, verified.id, name));
  return [...own, ...above.filter((at) => entries.scope(at) === 'subtree')].map((at) => entries.id(at));
}

function placesOf(register: RegisterView, noticeId: string, name: string): number[] {
  return register
    .findEntries(name)
    .filter(({ notice }) => notice.verified.id === noticeId)
    .map(({ at }) => at);
}

/**
 * Requires ids to be those of entries of the notice.
 *
 * @throws {WartaError} `request-invalid`, naming the first that is not.
 */
export function requireEntries(register: RegisterView, noticeId: string, ids: readonly string[]): void {
  const entries = register.entriesOf(noticeId);
  if (entries === undefined) {
    throw new WartaError('annex-missing', 'the annex of the notice is not at hand: try again when it is served');
  }
  const errors = ids
    .filter((id) => entries.indexOf(id) < 0)
    .slice(0, 100)
    .map((id) => ({ path: 'body/entries', message: `the notice has no entry ${id}` }));
  if (errors.length > 0) throw new ProblemError('request-invalid', errors[0].message, errors);
}
