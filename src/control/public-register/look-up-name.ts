import { WartaError } from '../../base/errors.ts';
import { ancestorsOf, canonicaliseName, fitsWire } from '../../register/entry-name.ts';
import { formatInstant } from '../../register/time.ts';
import type { NamedEntry, RegisterView } from '../view/register-view.ts';
import { describeTerms, foldAlone, isExcluded, standingOfEntry } from './entry-standing.ts';
import type { NameAnswer, NameMatch } from './register-forms.ts';

/** Most notices that one answer tells of. */
const MATCHES_MAX = 100;

/**
 * Says which open notices name something, and whether one of them blocks it now. Sealed notices are never looked at: whether
 * a name is in one is nobody's to ask.
 *
 * @throws {WartaError} `name-invalid`.
 */
export function lookUpName(register: RegisterView, given: string, nowSeconds: number, licensee?: string): NameAnswer {
  const name = canonicaliseName(given);
  if (name === undefined || !fitsWire(name)) {
    throw new WartaError('name-invalid', 'this is no domain name: write it as it stands in an address, without a path');
  }
  const own = register.findEntries(name);
  const above = [...ancestorsOf(name)].flatMap((ancestor) => register.findEntries(ancestor).filter(isSubtree));
  const open = [...own, ...above].filter(({ notice }) => !notice.verified.statement.annex.sealed);
  const matches = open
    .map((entry) => describeMatch(register, entry, name, nowSeconds, licensee))
    .filter((match) => match !== undefined)
    .sort((one, other) => rankOf(one) - rankOf(other));
  const blocked = matches.some(({ state, excluded, scope }) => state === 'in-force' && !excluded && scope !== 'url');
  return { name, blocked, notices: matches.slice(0, MATCHES_MAX) };
}

function isSubtree({ notice, at }: NamedEntry): boolean {
  return notice.verified.entries?.scope(at) === 'subtree';
}

/** What is in force comes first. */
function rankOf({ state, excluded }: NameMatch): number {
  return state === 'in-force' && !excluded ? 0 : 1;
}

function describeMatch(
  register: RegisterView,
  { notice, at }: NamedEntry,
  name: string,
  nowSeconds: number,
  licensee?: string,
): NameMatch | undefined {
  const { id, statement } = notice.verified;
  const entries = register.entriesOf(id);
  const lone = foldAlone(register, notice, nowSeconds, licensee);
  if (entries === undefined || lone.whole === undefined) return undefined;
  const { state, sinceSeconds, untilSeconds } = standingOfEntry(lone, at);
  return {
    notice: { id, reference: statement.reference, authority: statement.authority, category: statement.category },
    entry: entries.id(at),
    entryName: entries.name(at),
    ...describeTerms(notice, entries, at),
    state,
    since: sinceSeconds === undefined ? undefined : formatInstant(sinceSeconds),
    until: untilSeconds === undefined ? undefined : formatInstant(untilSeconds),
    excluded: isExcluded(lone, at, name),
    appeal: { file: 'POST /v1/appeals', notice: id, contacts: [...statement.redress.contacts] },
  };
}
