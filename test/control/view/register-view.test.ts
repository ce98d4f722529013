import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RegisterView, StandingState } from '../../../src/control/view/register-view.ts';
import { createRegisterView } from '../../../src/control/view/tree-view.ts';
import { annexPath } from '../../../src/register/annex.ts';
import { composeCanonical } from '../../../src/register/canonical.ts';
import { parseEnvelope, signEnvelope } from '../../../src/register/envelope.ts';
import { entriesInForce, fold } from '../../../src/register/fold.ts';
import { digestList } from '../../../src/register/list-digest.ts';
import type { Notice } from '../../../src/register/statement.ts';
import { formatInstant } from '../../../src/register/time.ts';
import { isNotice } from '../../../src/register/verify-statement.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { makeFolder } from '../../support/folders.ts';
import { LogRegister, officerKey, type Published } from '../../support/log-register.ts';
import type { StatementDraft } from '../../support/test-authority.ts';
import { openView, readNaively, viewOptions } from './fixture.ts';

const DAY = 86_400;
const HOUR = 3600;
/** Metadata that outlasts every test. */
const termDays = { root: 3650, targets: 3650, snapshot: 3650, timestamp: 3650 };

let clock: FakeClock;
let register: LogRegister;

beforeEach(async () => {
  clock = new FakeClock();
  register = await LogRegister.create(makeFolder(), { clock, termDays });
});
afterEach(() => register.close());

const pass = (seconds: number) => clock.pass(seconds * 1000);
const now = () => register.nowSeconds;

/** Requires that a view says what a reading from scratch says. */
async function expectSame(view: RegisterView, sizes = [0, 1, Math.floor(register.size / 2), register.size]) {
  const licensees = ['NSP-TEST-1', 'NSP-TEST-2'];
  const whole = await readNaively(register);
  const good = whole.statements.filter(({ statement }) => statement.type !== 'heartbeat');
  expect(new Set(view.statements().map(({ verified }) => verified.id))).toEqual(new Set(good.map(({ id }) => id)));
  expect(view.size).toBe(register.size);
  const order = view.statements().map(({ index }) => index);
  expect(order).toEqual(order.toSorted((one, other) => one - other));
  for (const at of [now(), now() + DAY, now() + 20 * DAY, now() + 40 * DAY]) {
    for (const licensee of licensees) {
      const expected = fold(whole.statements, licensee, at);
      expect(digestList(view.fold(licensee, at), view.packSha256)).toBe(digestList(expected, view.packSha256));
      const inForce = Map.groupBy(entriesInForce(expected, at), ({ notice }) => notice.id);
      for (const notice of good) {
        if (!isNotice(notice)) continue;
        const { id, statement } = notice;
        const isAddressed = 'all' in statement.recipients || statement.recipients.licensees.includes(licensee);
        const standing = view.standingOf(id, at, licensee);
        expect(standing?.entriesInForce).toBe(isAddressed ? (inForce.get(id)?.length ?? 0) : undefined);
        if (standing !== undefined) expect(standing.state === 'in-force').toBe(standing.entriesInForce > 0);
      }
    }
  }
  for (const size of sizes) {
    const part = await readNaively(register, { size });
    const digest = digestList(fold(part.statements, 'NSP-TEST-1', now()), view.packSha256);
    expect(digestList(view.fold('NSP-TEST-1', now(), size), view.packSha256)).toBe(digest);
  }
}

describe('a view', () => {
  it('of an empty register is empty', async () => {
    const view = await openView(register, clock);
    expect([view.size, view.heartbeatSeconds, view.newestSeconds]).toEqual([0, 0, 0]);
    expect(view.statements()).toEqual([]);
    expect(view.find('00')).toBeUndefined();
    expect(view.standingOf('00', now())).toBeUndefined();
    expect(await view.readStatement('00')).toBeUndefined();
  });

  it('finds statements by id, reference and name, and reads them whole', async () => {
    const notice = await register.notice(['a.example', { subtree: 'b.example' }], {
      reference: 'MCMC/7',
      requestedBy: 'Central bank',
      tags: ['online-gambling'],
      dates: { made: 'now', approved: 'now', effectiveFrom: 'now', complyBy: '1h', reviewBy: '10d' },
    });
    const stay = await register.stay(notice.id, '2d');
    const view = await openView(register, clock);
    expect(view.find(stay.id)?.index).toBe(1);
    expect(view.findNotice(stay.id)).toBeUndefined();
    expect(view.findByReference('mcmc', 'MCMC/7').map(({ verified }) => verified.id)).toEqual([notice.id]);
    expect(view.findByReference('mcmc', 'MCMC/8')).toEqual([]);
    expect(view.findEntries('b.example').map(({ notice: found, at }) => [found.verified.id, at])).toEqual([
      [notice.id, 1],
    ]);
    expect(view.findEntries('c.example')).toEqual([]);
    expect(view.entriesOf(notice.id)?.count).toBe(2);
    expect(view.entriesOf(stay.id)).toBeUndefined();
    expect(view.changesOf(notice.id).map(({ verified }) => verified.id)).toEqual([stay.id]);
    expect(view.findNotice(notice.id)?.outline).toEqual({
      draftedBy: 'drafter',
      tags: ['online-gambling'],
      agency: 'Central bank',
      complyBySeconds: now() + HOUR,
      reviewBySeconds: now() + 10 * DAY,
    });
    const whole = await view.readStatement(notice.id);
    expect(whole).toMatchObject({ type: 'notice', reference: 'MCMC/7', reasons: { public: 'A test.' } });
    expect(await view.readStatement(stay.id)).toMatchObject({ order: { by: 'Tribunal' } });
  });

  it('reads on when there is more, and does nothing when there is not', async () => {
    const view = await openView(register, clock);
    const first = await register.notice(['a.example']);
    expect(view.size).toBe(0);
    await view.catchUp();
    const { revision } = view;
    expect(view.find(first.id)).toBeDefined();
    await view.catchUp();
    await register.cosign();
    await view.catchUp();
    expect(view.revision).toBe(revision);
    pass(60);
    await register.heartbeat();
    const second = await register.notice(['b.example'], { reference: 'TEST/2' });
    await Promise.all([view.catchUp(), view.catchUp(), view.catchUp()]);
    expect(view.revision).toBeGreaterThan(revision);
    expect(view.statements().map(({ verified }) => verified.id)).toEqual([first.id, second.id]);
    expect([view.heartbeatSeconds, view.newestSeconds]).toEqual([now(), now()]);
    await expectSame(view);
  });

  it('reads a log of several bundles as one that is read from scratch', async () => {
    await register.bulk({ statements: 300, entries: 2 });
    const view = await openView(register, clock);
    await expectSame(view, [0, 63, 64, 65, 255, 256, 257, 300]);
    const [named] = view.findEntries('b299-1.example');
    expect(named?.notice.verified.statement.reference).toBe('BULK/299');
    expect(await view.readStatement(named!.notice.verified.id)).toMatchObject({ reference: 'BULK/299' });
    await register.bulk({ statements: 300, entries: 2, first: 300 });
    const last = await register.revoke(named!.notice.verified.id);
    await view.catchUp();
    expect(view.notices()).toHaveLength(600);
    expect(view.find(last.id)?.index).toBe(600);
    await expectSame(view, [599, 600, 601]);
  });

  it('sees in a call what was published before it, also while another is under way', async () => {
    const view = await openView(register, clock);
    await register.notice(['a.example']);
    const under = view.catchUp();
    const second = await register.notice(['b.example'], { reference: 'TEST/2' });
    await view.catchUp();
    expect(view.find(second.id)).toBeDefined();
    await under;
  });

  it('judges everything anew when the authorities change, and not when they are only signed again', async () => {
    const one = await register.notice(['a.example']);
    const view = await openView(register, clock);
    const { revision } = view;
    register.refreshTimestamp();
    await view.catchUp();
    expect(view.revision).toBe(revision);
    register.revokeOfficer('two', now() - 1);
    await view.catchUp();
    expect(view.find(one.id)).toBeUndefined();
    expect(view.revision).toBeGreaterThan(revision);
    await expectSame(view);
    register.changeAuthorities((file) => {
      delete file.authorities[0]!.officers.find(({ id }) => id === 'two')!.revokedAt;
    });
    await view.catchUp();
    expect(view.find(one.id)).toBeDefined();
    await expectSame(view);
  });

  it('keeps what it has when the checkpoint is another log’s, smaller, or broken', async () => {
    await register.notice(['a.example']);
    const tree = viewOptions(register).tree;
    const small = (await tree.read('checkpoint'))!;
    const bytes = { checkpoint: undefined as Uint8Array | undefined };
    const read = async (path: string) => (path === 'checkpoint' ? bytes.checkpoint : undefined) ?? tree.read(path);
    const options = { ...viewOptions(register, clock), tree: Object.assign(Object.create(tree), { read }) };
    const view = await createRegisterView(options);
    const second = await register.notice(['b.example'], { reference: 'TEST/2' });
    await view.catchUp();
    bytes.checkpoint = small;
    await expect(view.catchUp()).rejects.toMatchObject({ code: 'checkpoint-rolled-back' });
    bytes.checkpoint = Buffer.from(Buffer.from(small).toString().replace('\n1\n', '\n9\n'));
    await expect(view.catchUp()).rejects.toMatchObject({ code: 'note-invalid' });
    bytes.checkpoint = Buffer.from(Buffer.from(small).toString().replace(register.origin, 'other/log'));
    await expect(view.catchUp()).rejects.toMatchObject({ code: 'checkpoint-foreign' });
    expect(view.size).toBe(2);
    expect(view.find(second.id)).toBeDefined();
    bytes.checkpoint = undefined;
    await view.catchUp();
    await expectSame(view);
  });

  it('reads the same leaves again after a failure of the store', async () => {
    const tree = viewOptions(register).tree;
    let failing = false;
    const read = async (path: string) => {
      if (failing && path.startsWith('annex/')) throw Object.assign(new Error('disk'), { code: 'EIO' });
      return tree.read(path);
    };
    const options = { ...viewOptions(register, clock), tree: Object.assign(Object.create(tree), { read }) };
    const view = await createRegisterView(options);
    await register.notice(['a.example']);
    pass(10);
    const late = await register.notice(['b.example'], { reference: 'TEST/2' });
    failing = true;
    await expect(view.catchUp()).rejects.toThrow('disk');
    failing = false;
    await view.catchUp();
    expect(view.find(late.id)).toBeDefined();
    await expectSame(view);
  });

  it('has a notice without its entries while the annex is missing, and with them when it comes', async () => {
    const notice = await register.notice(['a.example', 'b.example', 'c.example']);
    const digest = notice.annex!.digest;
    rmSync(join(register.publicFolder, annexPath(digest, false)));
    const revocation = await register.publish({
      type: 'variation',
      notice: notice.id,
      from: 'now',
      expiresAt: formatInstant(now() + DAY),
    });
    const view = await openView(register, clock);
    expect(view.entriesOf(notice.id)).toBeUndefined();
    expect(view.fold('NSP-TEST-1', now())).toEqual([]);
    expect(view.standingOf(notice.id, now())).toMatchObject({ state: 'in-force', entries: 3, entriesInForce: 3 });
    expect(view.standingOf(notice.id, now() + DAY)).toMatchObject({ state: 'expired', changedBy: [revocation.id] });
    await register.storeAnnex(digest, notice.annex!.bytes);
    pass(10);
    await register.heartbeat();
    await view.catchUp();
    expect(view.entriesOf(notice.id)?.count).toBe(3);
    expect(statSync(join(register.publicFolder, annexPath(digest, false))).isFile()).toBe(true);
    await expectSame(view);
  });

  it('reads sealed entries from their own tree, and does without when it has none', async () => {
    const notice = await register.notice(['a.example', 'b.example'], { category: 'csam', sealed: true });
    const view = await openView(register, clock);
    expect(view.entriesOf(notice.id)?.count).toBe(2);
    const { sealedTree: _, ...options } = viewOptions(register, clock);
    const without = await createRegisterView(options);
    expect(without.entriesOf(notice.id)).toBeUndefined();
    expect(without.standingOf(notice.id, now())).toMatchObject({ state: 'in-force', entriesInForce: 2 });
  });

  it('leaves out what is void, and what waits for a notice that comes later', async () => {
    const notice = register.sign({ type: 'notice', names: ['a.example'] });
    const revocation = register.sign({ type: 'revocation', notice: notice.id, from: 'now' });
    await register.appendRaw(Buffer.from('no leaf'));
    await register.appendStatement(revocation);
    const unsigned = register.sign({ type: 'notice', names: ['u.example'], reference: 'TEST/U' }, ['one']);
    await register.appendStatement(unsigned);
    const view = await openView(register, clock);
    expect(view.statements()).toEqual([]);
    await expectSame(view);
    await register.appendStatement(notice);
    await register.appendStatement(notice);
    await view.catchUp();
    expect(view.statements().map(({ verified }) => verified.id)).toEqual([revocation.id, notice.id]);
    expect(view.standingOf(notice.id, now())?.state).toBe('revoked');
    await expectSame(view);
  });

  it('takes an annex for what it is, whatever a second notice says of it', async () => {
    const notice = await register.notice(['a.example', { exact: 'b.example', expires: '20d' }]);
    const forge = (reference: string, change: (statement: Notice) => object) => {
      const statement = JSON.parse(parseEnvelope(notice.envelope).payload.toString()) as Notice;
      const payload = composeCanonical({ ...statement, reference, ...change(statement) });
      const signers = ['one', 'two'].map((id) => ({ keyId: id, privateKey: officerKey(id) }));
      return register.appendStatement({ id: '', envelope: signEnvelope(payload, signers) });
    };
    await forge('SAME', () => ({}));
    await forge('SIZE', ({ annex }) => ({ annex: { ...annex, sizeBytes: annex.sizeBytes + 1 } }));
    await forge('COUNT', ({ annex }) => ({ annex: { ...annex, entries: annex.entries + 1 } }));
    await forge('TERM', () => ({ term: { expires: formatInstant(now() + 10 * DAY) } }));
    const view = await openView(register, clock);
    expect(view.notices().map(({ verified }) => verified.statement.reference)).toEqual(['TEST/1', 'SAME']);
    await expectSame(view);
  });

  it('takes the copy with the earlier time of a release that is in the log twice', async () => {
    const notice = await register.notice(['a.example']);
    pass(DAY);
    const revocation = await register.revoke(notice.id);
    const view = await openView(register, clock);
    await register.appendStatement(revocation, now() - 200);
    // An addition that goes back in time is void.
    await register.appendStatement(register.sign({ type: 'notice', names: ['x.example'] }), now() - 200);
    await view.catchUp();
    expect(view.find(revocation.id)?.index).toBe(2);
    expect(view.statements()).toHaveLength(2);
    await expectSame(view, [register.size]);
    expect((await openView(register, clock)).find(revocation.id)?.index).toBe(2);
  });
});

describe('standing', () => {
  const order = { by: 'Tribunal', reference: 'T/1' };
  const standing = async (id: string, licensee?: string) => {
    const view = await openView(register, clock);
    return view.standingOf(id, now(), licensee);
  };
  const instant = (seconds: number) => formatInstant(now() + seconds);
  const stateOf = async (id: string, licensee?: string) => (await standing(id, licensee))?.state;

  it('goes from scheduled to in force to expired by the clock', async () => {
    const start = now() + HOUR;
    const notice = await register.notice(['a.example'], {
      dates: { made: 'now', approved: 'now', effectiveFrom: '1h' },
    });
    const published = now();
    expect(await standing(notice.id)).toEqual({
      state: 'scheduled',
      sinceSeconds: published,
      untilSeconds: start,
      entries: 1,
      entriesInForce: 0,
      changedBy: [],
    });
    pass(HOUR - 1);
    expect(await stateOf(notice.id)).toBe('scheduled');
    pass(1);
    expect(await standing(notice.id)).toMatchObject({
      state: 'in-force',
      sinceSeconds: start,
      untilSeconds: start + 30 * DAY,
      entriesInForce: 1,
    });
    pass(30 * DAY);
    expect(await standing(notice.id)).toMatchObject({ state: 'expired', sinceSeconds: now(), entriesInForce: 0 });
  });

  it('is stayed until the stay ends or is resumed, and changed by both', async () => {
    const notice = await register.notice(['a.example', 'b.example']);
    pass(HOUR);
    const from = now();
    const stay = await register.stay(notice.id, '2d');
    pass(HOUR);
    expect(await standing(notice.id)).toMatchObject({
      state: 'stayed',
      sinceSeconds: from,
      untilSeconds: from + 2 * DAY,
      entriesInForce: 0,
    });
    const resumption = await register.publish({ type: 'resumption', target: stay.id, from: 'now' });
    expect(await standing(notice.id)).toMatchObject({
      state: 'in-force',
      sinceSeconds: now(),
      entriesInForce: 2,
      changedBy: [stay.id, resumption.id],
    });
  });

  it('is stayed without a known end by a halt of its programme, not of another', async () => {
    const notice = await register.notice(['a.example']);
    await register.publish({ type: 'halt', instrument: 'cma-233', from: 'now' });
    expect(await standing(notice.id)).toMatchObject({ state: 'in-force', changedBy: [] });
    const halt = await register.publish({ type: 'halt', instrument: 'cma-263', from: 'now', reference: 'H/2' });
    const halted = await standing(notice.id);
    expect(halted).toMatchObject({ state: 'stayed', changedBy: [halt.id] });
    expect(halted?.untilSeconds).toBeUndefined();
    const resumption = await register.publish({ type: 'resumption', target: halt.id, from: 'now' });
    expect(await standing(notice.id)).toMatchObject({ state: 'in-force', changedBy: [halt.id, resumption.id] });
  });

  it('is not changed by an authority that may not release it', async () => {
    register.changeAuthorities((file) => {
      const [own] = file.authorities;
      file.authorities.push({ ...own!, id: 'other', name: 'Another authority' });
    });
    const notice = await register.notice(['a.example']);
    const halt = await register.publish({ type: 'halt', authority: 'other', instrument: 'cma-263', from: 'now' });
    expect((await openView(register, clock)).find(halt.id)).toBeDefined();
    expect(await standing(notice.id)).toMatchObject({ state: 'in-force', entriesInForce: 1, changedBy: [] });
  });

  it('counts the entries that one by one are out', async () => {
    const notice = await register.notice(['a.example', 'b.example', { exact: 'c.example', expires: '1h' }]);
    const view = await openView(register, clock);
    const ids = ['a.example', 'b.example'].map((name) => view.entriesOf(notice.id)!.id(view.findEntries(name)[0]!.at));
    expect(await standing(notice.id)).toMatchObject({ entries: 3, entriesInForce: 3 });
    await register.revoke(notice.id, [ids[0]!]);
    expect(await standing(notice.id)).toMatchObject({ state: 'in-force', entriesInForce: 2 });
    pass(HOUR);
    expect(await standing(notice.id)).toMatchObject({ state: 'in-force', entriesInForce: 1 });
    const target = { notice: notice.id, entries: [ids[1]!] };
    await register.publish({ type: 'stay', target, from: 'now', until: '1h', order, reference: 'S/1' });
    expect(await standing(notice.id)).toMatchObject({ state: 'stayed', entriesInForce: 0, untilSeconds: now() + HOUR });
    pass(HOUR);
    expect(await standing(notice.id)).toMatchObject({ state: 'in-force', entriesInForce: 1 });
    await register.revoke(notice.id, [ids[1]!]);
    expect(await standing(notice.id)).toMatchObject({ state: 'revoked', sinceSeconds: now(), entriesInForce: 0 });
  });

  it('is expired when each entry has ended at a time of its own', async () => {
    const notice = await register.notice([{ exact: 'c.example', expires: '1h' }]);
    const ended = now() + HOUR;
    pass(2 * HOUR);
    expect(await standing(notice.id)).toMatchObject({ state: 'expired', sinceSeconds: ended, entriesInForce: 0 });
  });

  it.each<[string, (id: string) => StatementDraft, StandingState]>([
    ['revocation', (id) => ({ type: 'revocation', notice: id, from: 'now' }), 'revoked'],
    ['variation', (id) => ({ type: 'variation', notice: id, from: 'now', expiresAt: 'now' }), 'expired'],
    ['successor', (id) => ({ type: 'notice', names: ['z.example'], supersedes: [id], reference: 'N/2' }), 'superseded'],
  ])('ends by a %s, whatever comes after', async (_, compose, state) => {
    const notice = await register.notice(['a.example']);
    pass(HOUR);
    const ended = now();
    const { id } = await register.publish(compose(notice.id));
    expect(await standing(notice.id)).toEqual({
      state,
      sinceSeconds: ended,
      untilSeconds: undefined,
      entries: 1,
      entriesInForce: 0,
      changedBy: [id],
    });
    pass(DAY);
    const stay = await register.stay(notice.id);
    pass(60 * DAY);
    expect(await standing(notice.id)).toMatchObject({ state, sinceSeconds: ended, changedBy: [id, stay.id] });
  });

  it('is a matter of the licensee where exemptions and recipients are', async () => {
    const request = { reference: 'R/1', receivedAt: 'now' };
    const notice = await register.notice(['a.example'], { recipients: { licensees: ['NSP-1', 'NSP-2'] } });
    const exemption = await register.publish({
      type: 'exemption',
      licensee: 'NSP-1',
      scope: { notice: notice.id },
      from: 'now',
      until: '5d',
      conditions: 'None.',
      request,
    });
    expect(await standing(notice.id)).toMatchObject({ state: 'in-force', changedBy: [exemption.id] });
    expect(await standing(notice.id, 'NSP-1')).toMatchObject({
      state: 'exempted',
      sinceSeconds: now(),
      untilSeconds: now() + 5 * DAY,
      entriesInForce: 0,
    });
    expect(await standing(notice.id, 'NSP-2')).toMatchObject({ state: 'in-force', changedBy: [] });
    expect(await standing(notice.id, 'NSP-3')).toBeUndefined();
    pass(5 * DAY);
    expect(await stateOf(notice.id, 'NSP-1')).toBe('in-force');
  });

  it('counts what was known at a time only', async () => {
    const notice = await register.notice(['a.example']);
    const published = now();
    pass(DAY);
    await register.publish({ type: 'revocation', notice: notice.id, from: instant(-HOUR) });
    const view = await openView(register, clock);
    expect(view.standingOf(notice.id, now() - 1)).toMatchObject({ state: 'in-force', changedBy: [] });
    expect(view.standingOf(notice.id, now())).toMatchObject({ state: 'revoked', sinceSeconds: now() });
    expect(view.standingOf(notice.id, published - 1)).toMatchObject({ state: 'scheduled', entriesInForce: 0 });
  });
});

/** One step of a random register. */
const step = fc.record({
  act: fc.constantFrom(
    ...([
      'notice',
      'notice',
      'successor',
      'stay',
      'revoke',
      'vary',
      'exempt',
      'halt',
      'resume',
      'wait',
      'beat',
    ] as const),
  ),
  pick: fc.nat(50),
  whole: fc.boolean(),
  hours: fc.integer({ min: 1, max: 300 }),
  read: fc.boolean(),
});
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

describe('any sequence of statements', () => {
  it('reads as from scratch', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 14 }), async (steps) => {
        await register.close();
        register = await LogRegister.create(makeFolder(), { clock, termDays });
        const view = await openView(register, clock);
        const notices: Published[] = [];
        const pauses: Published[] = [];
        for (const [number, one] of steps.entries()) {
          await perform(one, number, notices, pauses);
          if (one.read) await view.catchUp();
        }
        await view.catchUp();
        await expectSame(view);
      }),
      { numRuns: 12 },
    );
  });

  async function perform(one: Step, number: number, notices: Published[], pauses: Published[]): Promise<void> {
    const reference = `R/${number}`;
    const until = `${one.hours}h`;
    const notice = notices[one.pick % Math.max(1, notices.length)];
    const pause = pauses[one.pick % Math.max(1, pauses.length)];
    if (one.act === 'wait') return void pass(one.hours * HOUR);
    if (one.act === 'beat') {
      pass(1);
      return void (await register.heartbeat());
    }
    if (one.act === 'halt') {
      const instrument = one.whole ? 'cma-263' : 'cma-233';
      pauses.push(await register.publish({ type: 'halt', instrument, from: 'now', until, reference }));
      return;
    }
    if (one.act === 'notice' || (one.act === 'successor' && notice !== undefined)) {
      const names = [
        `a${number}.example`,
        { subtree: `b${number}.example` },
        { exact: `c${number}.example`, expires: until },
      ];
      const recipients = one.pick % 3 === 0 ? { licensees: ['NSP-TEST-1'] } : { all: true };
      const instrument = one.pick % 2 === 0 ? 'cma-263' : 'cma-233';
      const supersedes = one.act === 'successor' ? { supersedes: [notice!.id] } : {};
      notices.push(await register.notice(names, { reference, recipients, instrument, ...supersedes }));
      return;
    }
    if (one.act === 'resume' && pause !== undefined) {
      await register.publish({ type: 'resumption', target: pause.id, from: one.whole ? 'now' : until, reference });
    }
    if (notice === undefined) return;
    const view = await openView(register, clock);
    const entries = one.whole ? {} : { entries: [view.entriesOf(notice.id)!.id(one.pick % 3)] };
    const from = one.pick % 4 === 0 ? until : 'now';
    const order = { by: 'Tribunal', reference: 'T/1' };
    const target = { notice: notice.id, ...entries };
    if (one.act === 'stay') pauses.push(await register.publish({ type: 'stay', target, from, order, reference }));
    if (one.act === 'revoke') await register.publish({ type: 'revocation', ...target, from, reference });
    if (one.act === 'vary') {
      const change = one.whole ? { expiresAt: until } : { remove: entries.entries };
      await register.publish({ type: 'variation', notice: notice.id, from, ...change, reference });
    }
    if (one.act === 'exempt') {
      const scope = one.pick % 5 === 0 ? { category: 'online-scams' } : target;
      const request = { reference: 'R/1', receivedAt: 'now' };
      const common = { conditions: 'None.', request, reference };
      await register.publish({ type: 'exemption', licensee: 'NSP-TEST-1', scope, from: 'now', until, ...common });
    }
  }
});
