import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eraseOldContacts } from '../../../src/control/appeals/erasure.ts';
import { lookForReminders } from '../../../src/control/reviews/reminders.ts';
import type { ControlDesk } from '../../support/control-desk.ts';
import { hasPostgres, startPostgres, type TestPostgres } from '../../support/postgres.ts';
import { Drafting, openDesk } from '../drafting/fixture.ts';
import { DAY } from './appeals-rig.ts';

const engines = ['sqlite', ...(hasPostgres() ? ['postgresql'] : [])];

describe.each(engines)('an appeal on %s', (engine) => {
  let postgres: TestPostgres | undefined;
  let desk: ControlDesk;
  let drafting: Drafting;

  beforeAll(async () => {
    postgres = engine === 'postgresql' ? await startPostgres() : undefined;
    desk = await openDesk({ database: await postgres?.createDatabase() });
    drafting = new Drafting(desk);
  });
  afterAll(async () => {
    await desk.close();
    await postgres?.stop();
  });

  const look = async (reference: string, headers = {}) =>
    (await desk.send(undefined, 'GET', `/v1/appeals/${reference}`, undefined, headers)).body;
  const isBlocked = async (name: string) =>
    (await desk.send(undefined, 'GET', `/v1/register/names/${name}`)).body.blocked;
  /** Publishes a notice over two names and files an appeal against the first. */
  const begin = async (first: string, second: string) => {
    desk.clock!.pass(1000);
    const draft = await drafting.notice(`${first}\n${second}`);
    await drafting.publish('notices', draft.id);
    const { statementId } = await drafting.settle('notices', draft.id);
    const filing = { notice: statementId, entries: [first], standing: 'owner', grounds: `${first} is mine.` };
    const filed = await desk.send(undefined, 'POST', '/v1/appeals', filing);
    expect(filed.status).toBe(201);
    return filed.body as { reference: string; secret: string };
  };
  const act = async (reference: string, action: string, body: object, user = 'reviewer') => {
    desk.clock!.pass(1000); // what comes later has a later id
    const answer = await desk.send(user, 'POST', `/v1/appeals/${reference}/${action}`, body);
    expect(answer.status, JSON.stringify(answer.body)).toBe(200);
    return answer.body.statements.at(-1)?.draft.id as string;
  };
  /** What the reviewer, one key and the log make of a draft. */
  const release = async (collection: string, id: string) => {
    const proposed = await drafting.expectOk(drafting.step('reviewer', collection, id, 'propose'));
    expect(proposed.state).toBe('approved');
    await drafting.expectOk(drafting.sign(collection, id, 'reviewer', undefined, 'reviewer'));
    await drafting.expectOk(drafting.step('reviewer', collection, id, 'publish'));
    expect((await drafting.settle(collection, id)).state).toBe('published');
  };

  it('stays one entry, is overturned, and its revocation is published, all of it in the public chain', async () => {
    const { reference, secret } = await begin('a.example', 'b.example');
    const stay = await act(reference, 'stay', { reasons: 'The harm is great.' });
    expect([await isBlocked('a.example'), await isBlocked('b.example')]).toEqual([true, true]);
    await release('stays', stay);
    expect([await isBlocked('a.example'), await isBlocked('b.example')]).toEqual([false, true]);
    await act(reference, 'acknowledge', {}, 'drafter');
    await act(reference, 'assess', {});
    const revocation = await act(reference, 'decide', { outcome: 'overturned', reasons: 'It is another site.' });
    await release('revocations', revocation);
    desk.clock!.pass(60_000);
    expect([await isBlocked('a.example'), await isBlocked('b.example')]).toEqual([false, true]);
    const chain = await look(reference);
    expect(chain).toMatchObject({
      state: 'decided',
      outcome: 'overturned',
      statements: [
        { type: 'stay', state: 'published' },
        { type: 'revocation', state: 'published' },
      ],
      clocks: { release: { missed: false } },
    });
    expect(chain.clocks.release.at).toBeDefined();
    expect(JSON.stringify(chain)).not.toContain('is mine');
    expect(await look(reference, { 'appeal-secret': secret })).toMatchObject({ grounds: 'a.example is mine.' });
    const { body } = await desk.send(undefined, 'GET', `/v1/register/notices/${chain.notice.id}`);
    expect(body.changes.map(({ type, signers }: { type: string; signers: string[] }) => [type, signers])).toEqual([
      ['stay', ['reviewer']],
      ['revocation', ['reviewer']],
    ]);
    expect(body.changes[1].reasons).toBe(`Appeal ${reference}: It is another site.`);
    expect(body.appeals).toMatchObject([{ reference, outcome: 'overturned' }]);
  });

  it('is varied, and the variation is published', async () => {
    const { reference } = await begin('c.example', 'd.example');
    await act(reference, 'acknowledge', {}, 'drafter');
    await act(reference, 'assess', {});
    const { notice, entries } = await look(reference);
    const variation = { remove: entries, expiresAt: '2026-03-05T00:00:00Z' };
    const draft = await act(reference, 'decide', { outcome: 'varied', reasons: 'Too wide.', variation });
    await release('variations', draft);
    expect([await isBlocked('c.example'), await isBlocked('d.example')]).toEqual([false, true]);
    const { body } = await desk.send(undefined, 'GET', `/v1/register/notices/${notice.id}`);
    expect(body.standing).toMatchObject({ state: 'in-force', until: '2026-03-05T00:00:00Z', entriesInForce: 1 });
  });

  it('is in the description of the API', async () => {
    const { status, body } = await desk.send(undefined, 'GET', '/v1/openapi.json');
    expect(status).toBe(200);
    const paths = ['/v1/appeals', '/v1/appeals/{reference}/cure', '/v1/register/notices/{id}', '/v1/takedowns'];
    for (const path of paths) expect(body.paths[path]).toBeDefined();
  });

  it('is reminded of, listed page by page, and erased', async () => {
    const { reference, secret } = await begin('e.example', 'f.example');
    const { reference: second } = await begin('g.example', 'h.example');
    const headers = { 'appeal-secret': secret };
    expect((await desk.send(undefined, 'POST', `/v1/appeals/${reference}/withdraw`, {}, headers)).status).toBe(200);
    desk.clock!.pass(3 * DAY * 1000);
    const nowSeconds = () => Math.floor(desk.clock!.wall / 1000);
    const { services } = desk.site;
    for (const made of [true, false]) {
      const found = await desk.store.transaction((tables) => lookForReminders(tables, services, nowSeconds()));
      expect(found.made > 0).toBe(made);
    }
    const { body: reminders } = await desk.send('drafter', 'GET', '/v1/reminders?state=open&limit=200');
    const subjects = reminders.items.map(({ subject }: { subject: string }) => subject);
    expect(subjects).toContain(`appeals/${second}`);
    expect(subjects).not.toContain(`appeals/${reference}`);

    const listed: string[] = [];
    for (let next = ''; next !== undefined; ) {
      const { body } = await desk.send('drafter', 'GET', `/v1/appeals?limit=1${next && `&cursor=${next}`}`);
      listed.push(body.items[0].reference);
      next = body.next;
    }
    expect(listed.slice(0, 2)).toEqual([second, reference]);

    desk.clock!.pass(400 * DAY * 1000);
    while (await desk.store.transaction((tables) => eraseOldContacts(tables, nowSeconds())));
    const own = await look(reference, headers);
    expect([own.grounds, own.state]).toEqual(['', 'withdrawn']);
    expect((await desk.store.read((tables) => tables.appeals.get(second)))!.grounds).toBe('g.example is mine.');
  });
});
