import { describe, expect, it } from 'vitest';
import { parseAuthorities } from '../../src/register/authorities.ts';
import { hashHex } from '../../src/register/canonical.ts';
import { readRegister } from '../../src/register/read-register.ts';
import { createSlimMemo, type RegisterMemo } from '../../src/register/register-memo.ts';
import type { Notice } from '../../src/register/statement.ts';
import { type StatementLeaf, verifyStatement } from '../../src/register/verify-statement.ts';
import {
  authorities,
  authoritiesFile,
  common,
  composeNotice,
  DAY,
  day,
  LICENSEE,
  NOW,
  pack,
  packSha256,
  subtree,
  TestRegister,
} from './fixture.ts';

const halt = { type: 'halt', ...common('H'), instrument: 'cma-263', from: day(0) };
const heartbeat = { type: 'heartbeat', ...common('B'), at: day(0) };

/** A register that is read again and again with one memo, and counts what it is asked for. */
class ReadAgain {
  readonly register = new TestRegister();
  readonly memo: RegisterMemo = createSlimMemo();
  /** Changes to leaves, by name. */
  readonly changes = new Map<string, Partial<StatementLeaf>>();
  authorities = authorities;
  /** Makes reading an annex fail as nothing of a register does. */
  fail = false;
  envelopesRead: string[] = [];
  annexesRead: string[] = [];

  leaves(): StatementLeaf[] {
    return this.register.leaves.map((leaf) => {
      const note = () => this.envelopesRead.push(leaf.name);
      const change = this.changes.get(leaf.name) ?? {};
      const common = { name: leaf.name, key: leaf.name, integratedAtSeconds: leaf.integratedAtSeconds };
      return {
        ...common,
        ...change,
        get envelope() {
          note();
          return change.envelope ?? leaf.envelope;
        },
      };
    });
  }

  /** Reads and returns the codes of void leaves by name, and the names of entries in force. */
  read(nowSeconds = NOW): { codes: Record<string, string>; names: string[] } {
    this.envelopesRead = [];
    this.annexesRead = [];
    const annexes = {
      read: (digest: string) => {
        this.annexesRead.push(digest);
        if (this.fail) throw new Error('the disk is gone');
        return this.register.read(digest);
      },
    };
    const context = { authorities: this.authorities, pack, licensee: LICENSEE, nowSeconds, memo: this.memo };
    const { verdicts, folded } = readRegister(this.leaves(), annexes, context);
    const bad = verdicts.filter(({ ok }) => !ok).map(({ name, code }) => [name, code!]);
    const names = folded.flatMap(({ entries }) => Array.from({ length: entries.count }, (_, at) => entries.name(at)));
    return { codes: Object.fromEntries(bad), names: names.sort() };
  }
}

describe('a memo', () => {
  it('reads envelopes and annexes once, of good and of void leaves', () => {
    const again = new ReadAgain();
    again.register.notice(['a.example']);
    again.register.notice(['b.example'], { reference: 'B' }, ['one']);
    const first = again.read();
    expect([again.envelopesRead, again.annexesRead.length]).toEqual([['0-notice', '1-notice'], 1]);
    expect(again.read()).toEqual(first);
    expect([again.envelopesRead, again.annexesRead]).toEqual([[], []]);
    again.register.notice(['c.example'], { reference: 'C' });
    expect(again.read().names).toEqual(expect.arrayContaining(['a.example', 'c.example']));
    expect([again.envelopesRead, again.annexesRead.length]).toEqual([['2-notice'], 1]);
  });

  it('keeps no text that nothing is decided by', () => {
    const again = new ReadAgain();
    again.register.notice(['a.example']);
    again.register.add(halt, ['one']);
    const context = { authorities, pack, licensee: LICENSEE, nowSeconds: NOW, memo: again.memo };
    const { statements } = readRegister(again.leaves(), again.register, context);
    expect(statements.map(({ statement }) => statement.type).sort()).toEqual(['halt', 'notice']);
    for (const { statement } of statements) {
      for (const key of ['reasons', 'proportionality', 'evidence']) expect(statement).not.toHaveProperty(key);
    }
  });

  it.each<[string, Partial<StatementLeaf>]>([
    ['without a key', { key: undefined }],
    ['of another time', { integratedAtSeconds: NOW + 1 }],
    ['of another name', { name: 'other' }],
  ])('does not know a leaf %s', (_, change) => {
    const again = new ReadAgain();
    again.register.add(again.register.compose(['a.example']), undefined, NOW);
    again.read();
    again.changes.set('0-notice', change);
    again.read(NOW + 1);
    expect(again.envelopesRead).toEqual(['0-notice']);
  });

  it('judges a leaf whose bytes changed with its key', () => {
    const again = new ReadAgain();
    again.register.notice(['a.example']);
    expect(again.read().names).toEqual(['a.example']);
    again.changes.set('0-notice', { key: 'other bytes', envelope: Buffer.from('{}') });
    expect(again.read()).toEqual({ codes: { '0-notice': 'statement-malformed' }, names: [] });
  });

  it('takes two leaves of one key for two', () => {
    const again = new ReadAgain();
    again.register.notice(['a.example']);
    again.register.leaves.push({ ...again.register.leaves[0]!, name: '1-copy' });
    again.changes.set('0-notice', { key: 'same' }).set('1-copy', { key: 'same' });
    for (let reading = 0; reading < 3; reading++) {
      expect(again.read()).toEqual({ codes: { '1-copy': 'statement-replayed' }, names: ['a.example'] });
    }
    again.changes.set('1-copy', { key: 'same', name: '0-notice' });
    for (let reading = 0; reading < 3; reading++) {
      expect(again.read()).toEqual({ codes: { '0-notice': 'statement-replayed' }, names: ['a.example'] });
    }
  });

  it('loses no leaf, whatever was read meanwhile and however that ended', () => {
    const again = new ReadAgain();
    for (const name of ['a', 'b', 'c', 'd']) again.register.notice([`${name}.example`], { reference: name });
    const all = ['a.example', 'b.example', 'c.example', 'd.example'];
    expect(again.read().names).toEqual(all);
    again.register.notice(['e.example'], { reference: 'e' });
    const removed = again.register.leaves.splice(1, 1);
    again.fail = true;
    expect(() => again.read()).toThrow('the disk is gone');
    again.fail = false;
    again.register.leaves.push(...removed);
    const last = again.read();
    expect(last).toEqual({ codes: {}, names: [...all, 'e.example'] });
  });

  it('forgets what is gone', () => {
    const again = new ReadAgain();
    again.register.notice(['a.example']);
    again.read();
    const [leaf] = again.register.leaves.splice(0);
    expect(again.read().names).toEqual([]);
    again.register.leaves.push(leaf!);
    expect(again.read().names).toEqual(['a.example']);
    expect([again.envelopesRead.length, again.annexesRead.length]).toEqual([1, 1]);
  });

  it('forgets the entries of a notice that lapsed', () => {
    const again = new ReadAgain();
    again.register.notice(['a.example']);
    again.read();
    expect(again.read(NOW + 31 * DAY).names).toEqual([]);
    expect(again.read().names).toEqual(['a.example']);
    expect([again.envelopesRead.length, again.annexesRead.length]).toEqual([0, 1]);
  });

  it('judges everything anew under other authorities, but reads no annex twice', () => {
    const again = new ReadAgain();
    again.register.notice(['a.example']);
    again.read();
    const [mcmc, ...others] = authoritiesFile.authorities;
    const officers = mcmc!.officers.map((one) => (one.id === 'two' ? { ...one, revokedAt: day(-2) } : one));
    const file = { ...authoritiesFile, authorities: [{ ...mcmc, officers }, ...others] };
    again.authorities = parseAuthorities(JSON.stringify(file), packSha256);
    expect(again.read()).toEqual({ codes: { '0-notice': 'statement-unsigned' }, names: [] });
    expect(again.envelopesRead).toEqual(['0-notice']);
  });

  it('looks again for an annex that is missing or damaged, and not for one whose entries are bad', () => {
    const again = new ReadAgain();
    again.register.notice(['a.example']);
    const [[digest, bytes]] = [...again.register.annexes] as [[string, Uint8Array]];
    again.register.annexes.clear();
    expect(again.read().codes).toEqual({ '0-notice': 'annex-missing' });
    again.register.annexes.set(
      digest,
      bytes.map((octet, at) => (at === 70 ? octet ^ 1 : octet)),
    );
    expect(again.read().codes).toEqual({ '0-notice': 'annex-mismatch' });
    again.register.annexes.set(digest, bytes);
    expect(again.read()).toEqual({ codes: {}, names: ['a.example'] });

    const late = [subtree('b.example', { expires: day(40) })];
    again.register.notice(late, { reference: 'B' });
    again.register.notice(late, { reference: 'C', term: { expires: day(50) } });
    expect(again.read()).toEqual({ codes: { '1-notice': 'annex-malformed' }, names: ['a.example', 'b.example'] });
    expect(again.read().codes).toEqual({ '1-notice': 'annex-malformed' });
    expect(again.annexesRead).toEqual([]);
  });

  it('remembers an annex that is the one that was signed and yet no good', () => {
    const again = new ReadAgain();
    const entry = '{"action":"block","canonical":"A.example","id":"e1","raw":"A.example","scope":"exact"}';
    const bytes = Buffer.from(`{"entry":${entry},"salt":"${Buffer.alloc(32).toString('base64url')}"}\n`);
    const digest = hashHex(Buffer.concat([Buffer.alloc(33), Buffer.from(entry)]));
    again.register.annexes.set(digest, bytes);
    const annex = { digest, entries: 1, sizeBytes: bytes.length, sealed: false };
    again.register.add(composeNotice({ annex }));
    expect(again.read().codes).toEqual({ '0-notice': 'annex-malformed' });
    expect(again.annexesRead).toEqual([digest]);
    again.register.add(composeNotice({ annex: { ...annex, entries: 2 }, reference: 'B' }));
    expect(again.read().codes).toEqual({ '0-notice': 'annex-malformed', '1-notice': 'annex-malformed' });
    expect(again.annexesRead).toEqual([]);
  });

  it('finds a target that comes later', () => {
    const again = new ReadAgain();
    const notice = again.register.notice(['a.example']);
    again.register.add({ type: 'revocation', ...common('R'), notice, from: day(0) }, ['one']);
    const [first] = again.register.leaves.splice(0, 1);
    expect(again.read().codes).toEqual({ '1-revocation': 'statement-target-unknown' });
    again.register.leaves.push(first!);
    expect(again.read()).toEqual({ codes: {}, names: [] });
  });

  it('takes the entries of one annex for every notice that names it', () => {
    const again = new ReadAgain();
    const notice = again.register.compose(['a.example']);
    again.register.add(notice);
    again.register.add({ ...notice, reference: 'B' });
    expect(again.read().names).toEqual(['a.example', 'a.example']);
    expect(again.annexesRead).toHaveLength(1);
    const annex = { ...(notice as unknown as Notice).annex, entries: 2 };
    again.register.add({ ...notice, reference: 'C', annex });
    expect(again.read().codes).toEqual({ '2-notice': 'annex-mismatch' });
  });
});

describe('a reading for rules only', () => {
  /** A notice; a heartbeat that is good, one that nobody signed, one spelled oddly and not signed; one that is none. */
  function compose(): ReadAgain {
    const again = new ReadAgain();
    again.register.notice(['a.example']);
    again.register.add(heartbeat, ['one']);
    again.register.add({ ...heartbeat, reference: 'Forged' }, []);
    again.register.add({ ...heartbeat, reference: 'Odd', reasons: { public: 'é' } }, []);
    again.register.add({ ...heartbeat, reference: 'Malformed', at: 'never' }, ['one']);
    again.register.add(halt, []);
    return again;
  }

  function readTwoWays(again: ReadAgain, memo = again.memo) {
    const context = { authorities, pack, licensee: LICENSEE, nowSeconds: NOW, memo };
    const read = (rulesOnly: boolean) => readRegister(again.leaves(), again.register, { ...context, rulesOnly });
    const codesOf = ({ verdicts }: ReturnType<typeof read>) =>
      Object.fromEntries(verdicts.map(({ name, code }) => [name, code ?? 'ok']));
    return { read, codesOf };
  }

  const rest = { '0-notice': 'ok', '4-heartbeat': 'statement-malformed', '5-halt': 'statement-unsigned' };
  const all = {
    ...rest,
    '1-heartbeat': 'ok',
    '2-heartbeat': 'statement-unsigned',
    '3-heartbeat': 'statement-unsigned',
  };

  it('has no verdict on a heartbeat, good or forged, and folds what a whole reading does', () => {
    const again = compose();
    const { read, codesOf } = readTwoWays(again);
    const rules = read(true);
    expect(codesOf(rules)).toEqual(rest);
    expect(rules.statements.map(({ name }) => name)).toEqual(['0-notice']);
    again.envelopesRead = [];
    const whole = read(false);
    expect(codesOf(whole)).toEqual(all);
    expect(again.envelopesRead).toEqual(['1-heartbeat', '2-heartbeat', '3-heartbeat']);
    expect(whole.folded).toEqual(rules.folded);
    expect(whole.folded).toHaveLength(1);
  });

  it('is the same whatever the memo knows, and a whole reading too', async () => {
    const again = compose();
    const { read, codesOf } = readTwoWays(again);
    const ahead = { authorities, pack, nowSeconds: NOW, annexes: again.register };
    for (const rulesOnly of [true, false, true, false]) {
      await again.memo.judgeAhead(again.leaves(), { ...ahead, rulesOnly });
      again.envelopesRead = [];
      expect(codesOf(read(rulesOnly))).toEqual(rulesOnly ? rest : all);
      expect(again.envelopesRead).toEqual([]);
    }
  });
});

describe('a leaf that is held back', () => {
  const held = { held: 'statement-unwitnessed', heldReason: 'no witness yet' } as const;

  it('counts if and only if it is a release', () => {
    const again = new ReadAgain();
    const notice = again.register.notice(['a.example']);
    again.register.notice(['b.example'], { reference: 'B' });
    again.register.add({ type: 'revocation', ...common('R'), notice, from: day(0) }, ['one']);
    again.register.add(heartbeat, ['one']);
    expect(again.read()).toEqual({ codes: {}, names: ['b.example'] });
    for (const name of ['1-notice', '2-revocation', '3-heartbeat']) again.changes.set(name, held);
    const codes = { '1-notice': 'statement-unwitnessed', '3-heartbeat': 'statement-unwitnessed' };
    expect(again.read()).toEqual({ codes, names: [] });
    expect(again.envelopesRead).toEqual([]);
    again.changes.clear();
    expect(again.read()).toEqual({ codes: {}, names: ['b.example'] });
  });

  it('does not displace a copy that counts', () => {
    const again = new ReadAgain();
    const notice = again.register.compose(['a.example']);
    again.register.add(notice, undefined, NOW);
    again.register.add(notice, undefined, NOW + DAY);
    again.changes.set('0-notice', held);
    expect(again.read(NOW + DAY)).toEqual({ codes: { '0-notice': 'statement-unwitnessed' }, names: ['a.example'] });
    again.changes.clear();
    expect(again.read(NOW + DAY)).toEqual({ codes: { '1-notice': 'statement-replayed' }, names: ['a.example'] });
  });

  it('cannot be named: a resumption of a stay that counts is held, the stay goes on', () => {
    const again = new ReadAgain();
    again.register.notice(['a.example']);
    const target = again.register.add(halt, ['one']);
    again.register.add({ type: 'resumption', ...common('U'), target, from: day(0) });
    expect(again.read().names).toEqual(['a.example']);
    again.changes.set('2-resumption', held);
    expect(again.read()).toEqual({ codes: { '2-resumption': 'statement-unwitnessed' }, names: [] });
  });

  it('is void with the reason of its source, unless it is void by itself', () => {
    const register = new TestRegister();
    register.notice(['a.example']);
    register.notice(['b.example'], { reference: 'B' }, ['one']);
    const verdicts = register.leaves.map(
      (leaf) => verifyStatement({ ...leaf, ...held }, { authorities, pack }).verdict,
    );
    expect(verdicts).toMatchObject([
      { ok: false, code: 'statement-unwitnessed', reason: 'no witness yet', type: 'notice' },
      { ok: false, code: 'statement-unsigned' },
    ]);
  });
});
