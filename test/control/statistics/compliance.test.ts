import { parse } from 'csv-parse/sync';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatInstant } from '../../../src/register/time.ts';
import { EffectBench } from '../effect/effect-bench.ts';

const DAY = 86_400;

/** 2026-03-10T06:00:00Z. */
const BEGIN = Date.UTC(2026, 2, 10, 6) / 1000;

let bench: EffectBench;
beforeEach(async () => {
  bench = await EffectBench.create(BEGIN);
});
afterEach(() => bench.close());

const exported = async (query = '', user = 'operator') =>
  (await bench.get(user, `/v1/licensees/A/compliance${query}`)).body;

/** Two nodes, a notice that was revoked, one that is in force, one to another ISP, and an exemption. */
async function fill() {
  await bench.addLicensee('A', 'a1', 'a2');
  await bench.addLicensee('B', 'b1');
  const first = await bench.register.notice(['x.example', 'y.example'], { reference: 'N/1' });
  bench.pass(10);
  await bench.receive('A/a1', { agrees: true });
  bench.pass(30);
  await bench.receive('A/a2', {
    agrees: false,
    refusedEntries: 3,
    rejected: [{ statement: '#0', code: 'x', reason: 'y' }],
  });
  await bench.receive('A/a2', { id: 'receipts/observed', mode: 'observe', treeSize: 9 });
  await bench.register.notice(['z.example'], { reference: 'N/2', recipients: { licensees: ['B'] } });
  // Another ISP's exemption lets nothing resolve here.
  await bench.register.publish({
    ...{ type: 'exemption', licensee: 'B', scope: { notice: first.id }, from: 'now', until: '9d', reference: 'E/0' },
    ...{ conditions: 'None.', request: { reference: 'R', receivedAt: 'now' } },
  });
  bench.pass(DAY);
  const revocation = await bench.register.publish({
    type: 'revocation',
    notice: first.id,
    from: 'now',
    reference: 'R/1',
  });
  bench.pass(5);
  await bench.receive('A/a1');
  const second = await bench.register.notice(['w.example'], { reference: 'N/3' });
  const exemption = await bench.register.publish({
    ...{ type: 'exemption', licensee: 'A', scope: { notice: second.id }, from: 'now', until: '5d', reference: 'E/1' },
    ...{ conditions: 'None.', request: { reference: 'R', receivedAt: 'now' } },
  });
  bench.pass(15);
  await bench.receive('A/a1');
  return { first, second, revocation, exemption };
}

describe('an ISP’s compliance', () => {
  it('is what the register and its receipts say', async () => {
    const { first, second, revocation, exemption } = await fill();
    const body = await exported();
    expect(body).toMatchObject({ licensee: { number: 'A', name: 'ISP A' }, from: '2025-04', to: '2026-03' });
    expect(body.notices).toEqual([
      {
        ...{ id: first.id, authority: 'mcmc', reference: 'N/1', instrument: 'cma-263', category: 'online-scams' },
        ...{ sealed: false, entries: 2, integratedAt: formatInstant(BEGIN), state: 'revoked' },
        blocking: { dueAt: formatInstant(BEGIN), nodes: 2, missing: 0, count: 2, medianSeconds: 25, worstSeconds: 40 },
        unblocking: {
          ...{ statement: revocation.id, type: 'revocation', reference: 'R/1', nodes: 2, missing: 1, count: 1 },
          ...{ dueAt: formatInstant(BEGIN + DAY + 40), medianSeconds: 5, worstSeconds: 5 },
        },
      },
      {
        ...{ id: second.id, authority: 'mcmc', reference: 'N/3', instrument: 'cma-263', category: 'online-scams' },
        ...{ sealed: false, entries: 1, integratedAt: formatInstant(bench.now - 15), state: 'exempted' },
        blocking: {
          ...{ dueAt: formatInstant(bench.now - 15), nodes: 2, missing: 1, count: 1 },
          ...{ medianSeconds: 15, worstSeconds: 15 },
        },
        unblocking: {
          ...{ statement: exemption.id, type: 'exemption', reference: 'E/1', nodes: 2, missing: 1, count: 1 },
          ...{ dueAt: formatInstant(bench.now - 15), medianSeconds: 15, worstSeconds: 15 },
        },
      },
    ]);
    expect(body.nodes).toEqual([
      {
        ...{ node: 'a1', enrolledAt: formatInstant(BEGIN), lastReceiptAt: formatInstant(bench.now) },
        ...{ receipts: 3, verified: 1, notVerified: 0 },
        held: { observing: 0, refusedEntries: 0, rejectedStatements: 0, pagesNotSteered: 0 },
      },
      {
        ...{ node: 'a2', enrolledAt: formatInstant(BEGIN), lastReceiptAt: formatInstant(BEGIN + 40) },
        ...{ receipts: 2, verified: 0, notVerified: 1 },
        held: { observing: 1, refusedEntries: 3, rejectedStatements: 1, pagesNotSteered: 0 },
      },
    ]);
    expect(body.exemptions).toMatchObject([{ id: exemption.id, reference: 'E/1', scope: `notice ${second.id}` }]);
    expect(Object.keys(body.definitions)).toContain('seconds');
  });

  it('counts pages, those on HTTP alone, and receipts of nodes that steered none of them', async () => {
    await bench.addLicensee('A', 'a1', 'a2');
    const names = ['x.example', { url: 'http://paged.example/1' }, { url: 'http://paged.example/2' }];
    await bench.register.notice(names, { reference: 'P/1' });
    await bench.register.notice([{ url: 'http://paged.example/1' }], { reference: 'P/2', https: 'block-host' });
    await bench.register.notice(names, { reference: 'P/3', sealed: true, category: 'csam' });
    await bench.register.notice(['y.example'], { reference: 'N/1' });
    bench.pass(10);
    const pages = { entries: 3, httpOnly: 2, steered: false };
    await bench.receive('A/a1', { pages });
    await bench.receive('A/a2', { pages, mode: 'observe' });
    bench.pass(10);
    await bench.receive('A/a1', { pages: { ...pages, steered: true } });
    const body = await exported();
    // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
    expect(body.notices.map((one: any) => [one.reference, one.entries, one.pages, one.httpOnlyPages])).toEqual([
      ['P/1', 3, 2, 2],
      ['P/2', 1, 1, 0],
      ['P/3', 3, undefined, undefined],
      ['N/1', 1, undefined, undefined],
    ]);
    // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
    expect(body.nodes.map((one: any) => [one.node, one.held.pagesNotSteered, one.held.observing])).toEqual([
      ['a1', 1, 0],
      ['a2', 0, 1],
    ]);
    expect(body.definitions.pages).toContain('HTTP alone');
    const rows = parse(await exported('?format=csv'), { columns: true }) as Record<string, string>[];
    expect(rows.map((row) => [row.reference, row.pages, row.http_only_pages])).toEqual([
      ['P/1', '2', '2'],
      ['P/2', '1', '0'],
      ['P/3', '', ''],
      ['N/1', '', ''],
    ]);
  });

  it('is of the period asked for', async () => {
    await fill();
    bench.pass(40 * DAY);
    const april = await exported('?from=2026-04&to=2026-04');
    expect([april.notices, april.exemptions]).toEqual([[], []]);
    expect(april.nodes.map(({ receipts }: { receipts: number }) => receipts)).toEqual([0, 0]);
    const march = await exported('?from=2026-03&to=2026-03');
    expect(march.notices).toHaveLength(2);
    expect((await bench.get('operator', '/v1/licensees/A/compliance?from=2024-01&to=2026-03')).status).toBe(400);
    expect((await bench.get('operator', '/v1/licensees/A/compliance?from=2026-04&to=2026-03')).status).toBe(400);
  });

  it('is for its own operator, auditors and staff', async () => {
    await fill();
    expect((await exported('', 'auditor')).notices).toHaveLength(2);
    expect((await bench.get('operator-b', '/v1/licensees/A/compliance')).status).toBe(403);
    expect((await bench.get('admin', '/v1/licensees/A/compliance')).status).toBe(403);
    expect((await bench.get('auditor', '/v1/licensees/C/compliance')).status).toBe(404);
  });

  it('is a table of notices as CSV', async () => {
    const { first } = await fill();
    const lines: Record<string, string>[] = parse(await exported('?format=csv'), { columns: true });
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatchObject({
      ...{ licensee: 'A', notice: first.id, reference: 'N/1', state: 'revoked', nodes: '2', missing: '0' },
      ...{ median_seconds: '25', worst_seconds: '40', release: 'revocation', release_median_seconds: '5' },
    });
    expect(lines[0]!.seconds_definition).toMatch(/receipt/);
  });
});
