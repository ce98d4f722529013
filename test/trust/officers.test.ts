import { describe, expect, it } from 'vitest';
import { addOfficer, listChanges, requireHistory, revokeOfficer } from '../../src/trust/officers.ts';

function officer(id: string, changes: object = {}) {
  const validFrom = '2026-01-01T00:00:00Z';
  const validUntil = '2028-01-01T00:00:00Z';
  return { id, name: id, role: 'approving-officer', publicKey: `key of ${id}`, validFrom, validUntil, ...changes };
}

type Officer = ReturnType<typeof officer> & { revokedAt?: string };

interface Text {
  version: number;
  quorum: number;
  authorities: { id: string; name: string; officers: Officer[] }[];
}

/** Two authorities: `mcmc` with the officers one and two, `court` with judge. */
function text(changes: Record<string, object> = {}): Text {
  const officers = ['one', 'two'].map((id) => officer(id, changes[id]));
  const court = { id: 'court', name: 'Court', officers: [officer('judge', changes.judge)] };
  return { version: 1, quorum: 2, authorities: [{ id: 'mcmc', name: 'MCMC', officers }, court] };
}

const MAY = '2026-05-01T00:00:00Z';
const invalid = expect.objectContaining({ code: 'authorities-invalid' });

describe('addOfficer', () => {
  it('adds to one authority and leaves the rest, and the text it was given, as they are', () => {
    const before = text();
    const after = addOfficer<Officer, Text>(before, 'mcmc', officer('three'));
    expect(after.authorities[0].officers).toEqual([officer('one'), officer('two'), officer('three')]);
    expect(after.authorities[1]).toEqual(before.authorities[1]);
    expect(before).toEqual(text());
  });

  it('ends the key it replaces when the new one begins', () => {
    const after = addOfficer<Officer, Text>(text(), 'mcmc', officer('one.2', { validFrom: MAY }), 'one');
    expect(after.authorities[0].officers.map(({ id, revokedAt }) => [id, revokedAt])).toEqual([
      ['one', MAY],
      ['two', undefined],
      ['one.2', undefined],
    ]);
  });

  it.each([
    ['an authority that is not there', 'police', officer('three'), undefined],
    ['an id in use', 'mcmc', officer('one', { publicKey: 'fresh' }), undefined],
    ['a key that another has', 'mcmc', officer('three', { publicKey: 'key of two' }), undefined],
    ['one that replaces nobody', 'mcmc', officer('three'), 'nobody'],
  ])('refuses %s', (_what, authority, added, replaces) => {
    expect(() => addOfficer<Officer, Text>(text(), authority, added, replaces)).toThrow(invalid);
  });

  it('refuses a key under another id once it was revoked, in whatever authority', () => {
    const judge = officer('three', { publicKey: 'key of judge' });
    expect(addOfficer<Officer, Text>(text(), 'mcmc', judge).authorities[0].officers[2]).toEqual(judge);
    const revoked = text({ judge: { revokedAt: MAY } });
    expect(() => addOfficer<Officer, Text>(revoked, 'mcmc', judge)).toThrow(/the one of judge/);
  });
});

describe('revokeOfficer', () => {
  it('keeps the officer listed', () => {
    expect(revokeOfficer(text(), 'mcmc', 'two', MAY)).toEqual(text({ two: { revokedAt: MAY } }));
  });

  it('may be moved back, not forward', () => {
    const revoked = text({ two: { revokedAt: MAY } });
    expect(
      revokeOfficer(revoked, 'mcmc', 'two', '2026-04-01T00:00:00Z').authorities[0].officers[1].revokedAt,
    ).toContain('04');
    for (const at of [MAY, '2026-06-01T00:00:00Z']) {
      expect(() => revokeOfficer(revoked, 'mcmc', 'two', at)).toThrow(/revoked since/);
    }
  });

  it.each([
    ['police', 'one'],
    ['mcmc', 'judge'],
  ])('refuses what is not there: %s, %s', (authority, id) => {
    expect(() => revokeOfficer(text(), authority, id, MAY)).toThrow(invalid);
  });
});

describe('requireHistory', () => {
  const later = '2029-01-01T00:00:00Z';
  it.each<[string, Record<string, object>, Record<string, object>]>([
    ['nothing', {}, {}],
    ['a name', {}, { one: { name: 'Another' } }],
    ['a longer term', {}, { one: { validUntil: later } }],
    ['a revocation', {}, { one: { revokedAt: MAY } }],
    ['an earlier revocation', { one: { revokedAt: later } }, { one: { revokedAt: MAY } }],
  ])('lets a text change %s', (_what, before, after) => {
    requireHistory(text(before), text(after));
  });

  it.each<[string, Record<string, object>, Record<string, object>]>([
    ['a key', {}, { one: { publicKey: 'other' } }],
    ['a role', {}, { one: { role: 'appeals-reviewer' } }],
    ['what a key may sign', {}, { one: { may: ['heartbeat'] } }],
    ['a beginning', {}, { one: { validFrom: MAY } }],
    ['an end, to an earlier one', {}, { one: { validUntil: MAY } }],
    ['a revocation, to a later one', { one: { revokedAt: MAY } }, { one: { revokedAt: later } }],
    ['a revocation, to none', { one: { revokedAt: MAY } }, {}],
  ])('does not let a text change %s', (_what, before, after) => {
    expect(() => requireHistory(text(before), text(after))).toThrow(invalid);
  });

  it('does not let an officer or an authority vanish', () => {
    const [mcmc, court] = text().authorities;
    const without = { ...text(), authorities: [{ ...mcmc, officers: mcmc.officers.slice(1) }, court] };
    expect(() => requireHistory(text(), without)).toThrow(/officer one must stay listed/);
    expect(() => requireHistory(text(), { ...text(), authorities: [mcmc] })).toThrow(/officer judge must stay listed/);
  });
});

function fieldsOf(id: string): string {
  const term = 'validFrom "2026-01-01T00:00:00Z", validUntil "2028-01-01T00:00:00Z"';
  return `name "${id}", role "approving-officer", publicKey "key of ${id}", ${term}`;
}

describe('listChanges', () => {
  it('says nothing of nothing', () => {
    expect(listChanges(text(), { ...text(), version: 2 })).toEqual([]);
  });

  it('tells everything that signers should see', () => {
    const after = addOfficer<Officer, Text>(text({ two: { revokedAt: MAY } }), 'mcmc', officer('three'));
    after.quorum = 1;
    after.authorities[0].name = 'New name';
    after.authorities[1] = { id: 'police', name: 'Police', officers: [officer('chief')] };
    expect(listChanges(text(), after)).toEqual([
      'all: quorum: 2 → 1',
      'mcmc: name: "MCMC" → "New name"',
      `mcmc: officer two: revokedAt: none → "${MAY}"`,
      `mcmc: officer three: new, ${fieldsOf('three')}`,
      'police: new, name "Police"',
      `police: officer chief: new, ${fieldsOf('chief')}`,
      'court: removed',
    ]);
  });
});
