import { WartaError } from '../base/errors.ts';

/** An officer as authorities.json lists it; the register's own schema checks what the fields hold. */
export interface OfficerEntry {
  readonly id: string;
  readonly publicKey: string;
  readonly validUntil: string;
  readonly revokedAt?: string;
}

/** The part of authorities.json that officers' keys are in. */
export interface OfficersText<O extends OfficerEntry = OfficerEntry> {
  readonly version: number;
  readonly authorities: readonly { readonly id: string; readonly officers: readonly O[] }[];
}

/**
 * Adds an officer's key under an id of its own. With `replaces`, the key of that id ends when the new one begins: it stays
 * listed, so that what it signed before still counts.
 *
 * @throws {WartaError} `authorities-invalid`: no such authority or officer; an id in use; a key that the authority lists, or
 * that was revoked anywhere: it must not come back under another id.
 */
export function addOfficer<O extends OfficerEntry & { readonly validFrom: string }, T extends OfficersText<O>>(
  text: T,
  authority: string,
  officer: O,
  replaces?: string,
): T {
  const officers = officersOf(text, authority);
  if (officers.some(({ id }) => id === officer.id)) {
    throw new WartaError('authorities-invalid', `${authority} has an officer ${officer.id}: give the key another id`);
  }
  const listed = text.authorities.flatMap((one) => one.officers);
  const owner =
    officers.find(({ publicKey }) => publicKey === officer.publicKey) ??
    listed.find(({ publicKey, revokedAt }) => publicKey === officer.publicKey && revokedAt !== undefined);
  if (owner) throw new WartaError('authorities-invalid', `that key is or was the one of ${owner.id}: make a new one`);
  const base = replaces === undefined ? text : revokeOfficer<T>(text, authority, replaces, officer.validFrom);
  return withOfficers(base, authority, [...officersOf(base, authority), officer]);
}

/**
 * Ends an officer's key at a time. The officer stays listed: what it signed before that time still counts, what it signed
 * later does not.
 *
 * @throws {WartaError} `authorities-invalid`: no such officer, or it ended earlier already.
 */
export function revokeOfficer<T extends OfficersText>(text: T, authority: string, id: string, at: string): T {
  const officers = officersOf(text, authority);
  const officer = officers.find((one) => one.id === id);
  if (officer === undefined) throw new WartaError('authorities-invalid', `${authority} has no officer ${id}`);
  if (officer.revokedAt !== undefined && officer.revokedAt <= at) {
    throw new WartaError('authorities-invalid', `${id} is revoked since ${officer.revokedAt} already`);
  }
  return withOfficers(
    text,
    authority,
    officers.map((one) => (one === officer ? { ...one, revokedAt: at } : one)),
  );
}

function officersOf<O extends OfficerEntry>(text: OfficersText<O>, authority: string): readonly O[] {
  const found = text.authorities.find(({ id }) => id === authority);
  if (found) return found.officers;
  const known = text.authorities.map(({ id }) => id).join(', ');
  throw new WartaError('authorities-invalid', `there is no authority ${authority}, only ${known}`);
}

function withOfficers<T extends OfficersText>(text: T, authority: string, officers: readonly OfficerEntry[]): T {
  const authorities = text.authorities.map((one) => (one.id === authority ? { ...one, officers } : one));
  return { ...text, authorities };
}

/** What of an officer may change: a name freely, an end only as said in `requireHistory`. */
const CHANGEABLE = new Set(['name', 'validUntil', 'revokedAt']);

/**
 * Requires that no statement loses its signers by a new text: every officer stays listed with its key, role and beginning;
 * its term may be extended, it may be revoked, and a revocation may be moved back, but never undone.
 *
 * @throws {WartaError} `authorities-invalid`, naming the officer.
 */
export function requireHistory(before: OfficersText, after: OfficersText): void {
  for (const { id: authority, officers } of before.authorities) {
    for (const officer of officers) {
      const now = after.authorities.find(({ id }) => id === authority)?.officers.find(({ id }) => id === officer.id);
      const fault = now === undefined ? 'must stay listed: revoke it instead' : findRewriting(officer, now);
      if (fault) throw new WartaError('authorities-invalid', `${authority}: officer ${officer.id} ${fault}`);
    }
  }
}

/** Says which part of an officer's past a new entry would rewrite. Times of one spelling compare as text. */
function findRewriting(before: OfficerEntry, after: OfficerEntry): string | undefined {
  const fixed = (officer: OfficerEntry) =>
    JSON.stringify(
      Object.entries(officer)
        .filter(([key]) => !CHANGEABLE.has(key))
        .toSorted(),
    );
  if (fixed(before) !== fixed(after)) return 'must keep its key, role and beginning: add another id instead';
  if (after.validUntil < before.validUntil) return 'must keep its end: revoke it instead';
  const undone =
    before.revokedAt !== undefined && !(after.revokedAt !== undefined && after.revokedAt <= before.revokedAt);
  return undone ? 'is revoked, which cannot be undone: make a new key' : undefined;
}

/** Lists in words what a new text changes, for those who sign it. */
export function listChanges(before: OfficersText, after: OfficersText): string[] {
  const changes: string[] = [];
  const known = new Map(before.authorities.map((authority) => [authority.id, authority]));
  for (const authority of after.authorities) {
    const old = known.get(authority.id);
    if (old === undefined) changes.push(`${authority.id}: new, ${describeFields(authority, 'officers')}`);
    else changes.push(...listFieldChanges(authority.id, old, authority, 'officers'));
    const officers = new Map(old?.officers.map((officer) => [officer.id, officer]));
    for (const officer of authority.officers) {
      const name = `${authority.id}: officer ${officer.id}`;
      const earlier = officers.get(officer.id);
      if (earlier === undefined) changes.push(`${name}: new, ${describeFields(officer)}`);
      else changes.push(...listFieldChanges(name, earlier, officer));
    }
  }
  const gone = before.authorities.filter(({ id }) => !after.authorities.some((authority) => authority.id === id));
  changes.push(...gone.map(({ id }) => `${id}: removed`));
  return [...listFieldChanges('all', before, after, 'authorities', 'version'), ...changes];
}

/** Lists the fields of something new, but for its id and one left out. */
function describeFields(one: object, leftOut?: string): string {
  const fields = Object.entries(one).filter(([key, value]) => key !== 'id' && key !== leftOut && value !== undefined);
  return fields.map(([key, value]) => `${key} ${JSON.stringify(value)}`).join(', ');
}

/** Lists the fields that differ, but for those left out. */
function listFieldChanges(name: string, before: object, after: object, ...leftOut: string[]): string[] {
  const [old, now] = [before, after].map((one) => new Map(Object.entries(one)));
  const keys = [...new Set([...old.keys(), ...now.keys()])].filter((key) => !leftOut.includes(key));
  return keys
    .map((key) => [key, JSON.stringify(old.get(key)), JSON.stringify(now.get(key))])
    .filter(([, from, to]) => from !== to)
    .map(([key, from, to]) => `${name}: ${key}: ${from ?? 'none'} → ${to ?? 'none'}`);
}
