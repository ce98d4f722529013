import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tellStaleNodes } from '../../../src/control/effect/stale-nodes.ts';
import { formatInstant } from '../../../src/register/time.ts';
import { EffectBench } from './effect-bench.ts';

const DAY = 86_400;
const HOUR = 3600;
const MINUTE = 60;

let bench: EffectBench;
beforeEach(async () => {
  bench = await EffectBench.create();
});
afterEach(() => bench.close());

const licenseeOf = async (number: string, user = 'officer') => {
  const { body } = await bench.get(user, '/v1/effect');
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
  return body.licensees.find((one: any) => one.number === number);
};
const statementEffect = async (id: string, user = 'officer', query = '') =>
  (await bench.get(user, `/v1/effect/statements/${id}${query}`)).body;

describe('time to effect', () => {
  it('is from the log to the first receipt that covers the statement, both ways', async () => {
    await bench.addLicensee('A', 'a1', 'a2', 'a3');
    const notice = await bench.register.notice(['x.example']);
    bench.pass(20);
    await bench.receive('A/a1');
    bench.pass(20);
    await bench.receive('A/a2', { treeSize: 0, id: 'receipts/early' }); // of the list before
    bench.pass(20);
    await bench.receive('A/a2');
    bench.pass(140);
    await bench.receive('A/a3');
    await bench.receive('A/a1');
    bench.pass(HOUR);
    const revocation = await bench.register.revoke(notice.id);
    bench.pass(5);
    await bench.receive('A/a1');
    bench.pass(10);
    await bench.receive('A/a2');
    const effect = await licenseeOf('A');
    expect(effect.blocking).toEqual({ statements: 1, count: 3, medianSeconds: 60, worstSeconds: 200, pending: 0 });
    expect(effect.unblocking).toEqual({
      ...{ statements: 1, count: 2, medianSeconds: 10, worstSeconds: 15, pending: 1 },
      longestPendingSeconds: 15,
    });
    const blocked = await statementEffect(notice.id);
    expect(blocked).toMatchObject({ type: 'notice', count: 3, medianSeconds: 60, worstSeconds: 200, missing: [] });
    expect(blocked.integratedAt).toBe(formatInstant(notice.integratedAtSeconds));
    const revokedAt = revocation.integratedAtSeconds;
    expect(blocked.nodes).toEqual([
      {
        ...{ licensee: 'A', node: 'a1', seconds: 20, appliedAt: formatInstant(notice.integratedAtSeconds + 20) },
        removedAt: formatInstant(revokedAt + 5),
      },
      {
        ...{ licensee: 'A', node: 'a2', seconds: 60, appliedAt: formatInstant(notice.integratedAtSeconds + 60) },
        removedAt: formatInstant(revokedAt + 15),
      },
      { licensee: 'A', node: 'a3', seconds: 200, appliedAt: formatInstant(notice.integratedAtSeconds + 200) },
    ]);
    const released = await statementEffect(revocation.id);
    expect(released).toMatchObject({
      type: 'revocation',
      count: 2,
      missing: [{ licensee: 'A', node: 'a3' }],
      lagging: [],
    });
    expect(released.nodes[0]).toMatchObject({ seconds: 5, removedAt: formatInstant(revokedAt + 5) });
    bench.pass(11 * MINUTE);
    expect((await statementEffect(revocation.id)).lagging).toEqual(['A']);
  });

  it('counts from the statement’s own start when that is later', async () => {
    await bench.addLicensee('A', 'early', 'late');
    const notice = await bench.register.notice(['x.example'], {
      dates: { made: 'now', approved: 'now', effectiveFrom: '1h' },
    });
    bench.pass(30);
    await bench.receive('A/early');
    expect((await licenseeOf('A')).blocking).toEqual({ statements: 0, count: 0, pending: 0 });
    expect((await statementEffect(notice.id)).missing).toEqual([]);
    bench.pass(HOUR);
    await bench.receive('A/late');
    expect((await licenseeOf('A')).blocking).toMatchObject({
      statements: 1,
      count: 2,
      medianSeconds: 15,
      worstSeconds: 30,
    });
    const { dueAt, nodes } = await statementEffect(notice.id);
    expect(dueAt).toBe(formatInstant(notice.integratedAtSeconds + HOUR));
    expect(nodes.map(({ seconds }: { seconds: number }) => seconds)).toEqual([0, 30]);
  });

  it('leaves out nodes that came later, only observe, or are revoked', async () => {
    await bench.addLicensee('A', 'there', 'observing', 'gone');
    await bench.register.notice(['x.example']);
    bench.pass(10);
    await bench.addLicensee('A', 'later');
    for (const node of ['there', 'later', 'gone']) await bench.receive(`A/${node}`);
    await bench.receive('A/observing', { mode: 'observe' });
    await bench.store.transaction((tables) => tables.nodes.update('A/gone', { revokedSeconds: bench.now }));
    const { blocking, nodes } = await licenseeOf('A');
    expect(blocking).toMatchObject({ count: 1, medianSeconds: 10, pending: 1 });
    expect(nodes.map(({ node, mode }: { node: string; mode: string }) => [node, mode])).toEqual([
      ['later', 'enforce'],
      ['observing', 'observe'],
      ['there', 'enforce'],
    ]);
  });

  it('asks of each ISP what concerns it', async () => {
    await bench.addLicensee('A', 'a1');
    await bench.addLicensee('B', 'b1');
    const notice = await bench.register.notice(['x.example'], { recipients: { licensees: ['A'] } });
    const exemption = await bench.register.publish({
      ...{ type: 'exemption', licensee: 'A', scope: { category: 'online-scams' }, from: 'now', until: '5d' },
      ...{ conditions: 'None.', request: { reference: 'R', receivedAt: 'now' } },
    });
    await bench.register.revoke(notice.id);
    await bench.register.publish({ type: 'halt', instrument: 'cma-263', from: 'now', reference: 'H/1' });
    bench.pass(10);
    await bench.receive('A/a1');
    await bench.receive('B/b1');
    expect(await licenseeOf('A')).toMatchObject({
      blocking: { statements: 1 },
      unblocking: { statements: 3, count: 3 },
    });
    expect(await licenseeOf('B')).toMatchObject({
      blocking: { statements: 0 },
      unblocking: { statements: 1, count: 1 },
    });
    expect((await statementEffect(exemption.id)).nodes).toMatchObject([{ licensee: 'A' }]);
  });

  it('is of the last thirty days', async () => {
    await bench.addLicensee('A', 'a1');
    await bench.register.notice(['x.example'], { term: { expires: '200d' } });
    bench.pass(10);
    await bench.receive('A/a1');
    bench.pass(29 * DAY);
    expect((await licenseeOf('A')).blocking).toMatchObject({ statements: 1, count: 1, medianSeconds: 10 });
    bench.pass(2 * DAY);
    expect((await licenseeOf('A')).blocking).toEqual({ statements: 0, count: 0, pending: 0 });
  });

  it('of an expiry is proven by a later receipt', async () => {
    await bench.addLicensee('A', 'a1', 'a2');
    const notice = await bench.register.notice(['x.example'], { term: { expires: '1d' } });
    bench.pass(10);
    await bench.receive('A/a1');
    await bench.receive('A/a2');
    bench.pass(DAY);
    await bench.receive('A/a1');
    const { nodes } = await statementEffect(notice.id);
    const ended = formatInstant(notice.integratedAtSeconds + DAY);
    expect(nodes.map(({ removedAt }: { removedAt?: string }) => removedAt)).toEqual([ended, undefined]);
  });

  it('takes in receipts that come late, in any order', async () => {
    await bench.addLicensee('A', 'a1');
    const notice = await bench.register.notice(['x.example']);
    const at = bench.now;
    bench.pass(100);
    await bench.receive('A/a1');
    expect((await licenseeOf('A')).blocking.medianSeconds).toBe(100);
    bench.pass(60);
    // Sent again after an outage.
    await bench.receive('A/a1', { id: 'receipts/queued', appliedSeconds: at + 7 });
    bench.pass(60);
    expect((await licenseeOf('A')).blocking.medianSeconds).toBe(7);
    expect((await statementEffect(notice.id)).medianSeconds).toBe(7);
  });
});

describe('what nodes say', () => {
  it('shows who is silent, behind, or refuses', async () => {
    await bench.addLicensee('A', 'fine', 'mute', 'silent');
    await bench.register.notice(['x.example']);
    const rejected = [{ statement: '#0', code: 'annex-missing', reason: 'its annex cannot be used' }];
    await bench.receive('A/silent', { rejected, refusedEntries: 4, agrees: false, treeSize: 0 });
    bench.pass(3 * HOUR);
    await bench.receive('A/fine', { agrees: true });
    const effect = (await bench.get('auditor', '/v1/effect?silentMinutes=120')).body;
    expect(effect).toMatchObject({ treeSize: 1, periodDays: 30, silentMinutes: 120 });
    expect(effect.licensees[0].name).toBe('ISP A');
    expect(effect.licensees[0].nodes).toEqual([
      {
        ...{ node: 'fine', lag: 0, silent: false, treeSize: 1, mode: 'enforce', rules: 1, refusedEntries: 0 },
        ...{ lastReceiptAt: formatInstant(bench.now), rejected: [], verified: true },
      },
      { node: 'mute', lag: 1, silent: true, rejected: [], refusedEntries: 0 },
      {
        ...{ node: 'silent', lag: 1, silent: true, treeSize: 0, mode: 'enforce', rules: 1, refusedEntries: 4 },
        ...{ lastReceiptAt: formatInstant(bench.now - 3 * HOUR), rejected, verified: false },
      },
    ]);
  });

  it('shows pages, whether they hold on HTTPS, and which nodes send their hosts to a gateway', async () => {
    await bench.addLicensee('A', 'new', 'steering', 'without');
    const names = ['x.example', { url: 'http://paged.example/1' }, { url: 'http://paged.example/2' }];
    const open = await bench.register.notice(names, { reference: 'P/1' });
    const closed = await bench.register.notice(names.slice(1), { reference: 'P/2', https: 'block-host' });
    const sealed = await bench.register.notice(names, { reference: 'P/3', sealed: true, category: 'csam' });
    const plain = await bench.register.notice(['y.example'], { reference: 'N/1' });
    const pages = { entries: 4, httpOnly: 2, steered: false };
    await bench.receive('A/steering', { pages });
    bench.pass(10);
    await bench.receive('A/steering', { pages: { ...pages, steered: true } });
    await bench.receive('A/without', { pages });
    const { nodes } = await licenseeOf('A');
    // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
    expect(nodes.map((one: any) => [one.node, one.pages])).toEqual([
      ['new', undefined],
      ['steering', { ...pages, steered: true }],
      ['without', pages],
    ]);
    const effect = await statementEffect(open.id);
    expect(effect.pages).toEqual({ entries: 2, httpOnly: 2 });
    // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
    expect(effect.nodes.map((one: any) => [one.node, one.appliedAt !== undefined, one.pagesSteered])).toEqual([
      ['new', false, undefined],
      ['steering', true, true],
      ['without', true, false],
    ]);
    expect((await statementEffect(closed.id)).pages).toEqual({ entries: 2, httpOnly: 0 });
    for (const { id } of [sealed, plain]) {
      const other = await statementEffect(id);
      expect(JSON.stringify(other)).not.toContain('pages');
    }
    const [receipt] = (await bench.get('officer', '/v1/receipts?licensee=A&node=without')).body.items;
    expect(receipt.pages).toEqual(pages);
  });

  it('is for the operator of that ISP alone', async () => {
    await bench.addLicensee('A', 'a1');
    await bench.addLicensee('B', 'b1');
    const notice = await bench.register.notice(['x.example']);
    await bench.receive('A/a1');
    await bench.receive('B/b1');
    // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
    const seen = (list: any[]) => list.map(({ number, licensee }) => number ?? licensee);
    expect(seen((await bench.get('operator', '/v1/effect')).body.licensees)).toEqual(['A']);
    expect(seen((await statementEffect(notice.id, 'operator')).nodes)).toEqual(['A']);
    expect(seen((await statementEffect(notice.id, 'officer', '?licensee=B')).nodes)).toEqual(['B']);
    expect(seen((await bench.get('operator', '/v1/receipts')).body.items)).toEqual(['A']);
    expect(seen((await bench.get('admin', '/v1/receipts')).body.items).sort()).toEqual(['A', 'B']);
    for (const path of ['/v1/effect', `/v1/effect/statements/${notice.id}`, '/v1/receipts']) {
      expect((await bench.get('operator', `${path}?licensee=B`)).status).toBe(403);
      expect((await bench.get(undefined, path)).status).toBe(401);
    }
    expect((await bench.get('officer', `/v1/effect/statements/${'0'.repeat(64)}`)).status).toBe(404);
  });

  it('lists receipts of a node, the newest first, in pages', async () => {
    await bench.addLicensee('A', 'a1', 'a2');
    for (let i = 0; i < 3; i++) {
      await bench.receive('A/a1');
      bench.pass(10);
    }
    await bench.receive('A/a2');
    const first = (await bench.get('operator', '/v1/receipts?node=a1&limit=2')).body;
    expect(first.items.map(({ appliedAt }: { appliedAt: string }) => appliedAt)).toEqual(
      [10, 20].map((ago) => formatInstant(bench.now - ago)),
    );
    const second = (
      await bench.get('operator', `/v1/receipts?node=a1&limit=2&cursor=${encodeURIComponent(first.next)}`)
    ).body;
    expect(second.items).toHaveLength(1);
    expect(second.next).toBeUndefined();
    expect((await bench.get('auditor', '/v1/receipts?node=a1')).status).toBe(400);
    expect((await bench.get('auditor', '/v1/receipts?licensee=A&node=a2')).body.items).toMatchObject([{ node: 'a2' }]);
  });
});

describe('a silent node', () => {
  const tell = () => bench.store.transaction((tables) => tellStaleNodes(tables, bench.services, bench.now));
  const told = () => bench.store.read((tables) => tables.deliveries.list({ limit: 100 }));

  it('is told of once until it is heard again', async () => {
    await bench.addLicensee('A', 'a1', 'a2');
    await bench.send('operator', 'POST', '/v1/webhooks', { url: 'http://127.0.0.1:1/', events: ['node.stale'] });
    await bench.receive('A/a1');
    await bench.receive('A/a2');
    expect(await tell()).toBe(0);
    bench.pass(151 * MINUTE);
    await bench.receive('A/a2');
    expect(await tell()).toBe(1);
    expect(await tell()).toBe(0);
    expect((await told()).map(({ body }) => JSON.parse(body).data)).toMatchObject([
      { licensee: 'A', node: 'a1', lastReceiptAt: formatInstant(bench.now - 151 * MINUTE) },
    ]);
    await bench.receive('A/a1');
    expect(await tell()).toBe(0);
    bench.pass(151 * MINUTE);
    expect(await tell()).toBe(2);
    expect(await told()).toHaveLength(3);
    await bench.store.transaction((tables) => tables.nodes.update('A/a1', { revokedSeconds: bench.now }));
    expect(await tell()).toBe(0);
    const open = await bench.store.read((tables) =>
      tables.reminders.list({ where: { settledSeconds: null }, limit: 9 }),
    );
    expect(open.map(({ subject }) => subject)).toEqual(['A/a2']);
  });
});
