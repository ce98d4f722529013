import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatInstant } from '../../../src/register/time.ts';
import { AppealsRig, DAY } from '../appeals/appeals-rig.ts';

let rig: AppealsRig;

beforeAll(async () => {
  rig = await AppealsRig.create();
});
afterAll(() => rig.close());

const at = (seconds: number) => formatInstant(rig.now + seconds);
const good = () => ({
  platform: 'A platform',
  category: 'online-scams',
  items: 12,
  reference: 'T/1',
  requestedAt: at(-DAY),
});
const post = (body: object, as = 'clerk') => rig.send('POST /v1/takedowns', body, { as });
const count = () => rig.read((tables) => tables.takedowns.count());

describe('a takedown at the source', () => {
  it('is recorded when it is asked for, and again when it is done', async () => {
    const made = await post({ ...good(), agency: 'Police' });
    expect(made.status, made.text).toBe(201);
    expect(made.body).toMatchObject({ ...good(), agency: 'Police', authority: 'mcmc', recordedBy: 'clerk' });
    expect(made.body.removedAt).toBeUndefined();
    const { id } = made.body;
    const early = await post({ id, removedAt: at(-2 * DAY) });
    expect([early.status, early.body.code]).toEqual([400, 'request-invalid']);
    const done = await post({ id, removedAt: at(-100) }, 'reviewer');
    expect([done.status, done.body.removedAt]).toEqual([201, at(-100)]);
    const again = await post({ id, removedAt: at(-50) });
    expect([again.status, again.body.code]).toEqual([409, 'conflict']);
    const trail = await rig.read((tables) => tables.audit.list({ subject: `takedowns/${id}`, limit: 9 }));
    expect(trail.map(({ actor, beforeHash }) => [actor, beforeHash === null])).toEqual([
      ['clerk', true],
      ['reviewer', false],
    ]);
  });

  it('can be recorded with its removal at once', async () => {
    const { body } = await post({ ...good(), removedAt: at(0) });
    expect(body.removedAt).toBe(at(0));
  });

  it.each([
    ['a category there is none of', () => ({ category: 'nonsense' })],
    ['no items', () => ({ items: 0 })],
    ['half an item', () => ({ items: 1.5 })],
    ['a request in the future', () => ({ requestedAt: at(DAY) })],
    ['a removal in the future', () => ({ removedAt: at(DAY) })],
    ['a removal before the request', () => ({ removedAt: at(-2 * DAY) })],
    ['a platform that turns the writing', () => ({ platform: 'a\u202eb' })],
    ['a reference with NUL', () => ({ reference: 'a\u0000' })],
    ['a time in another zone', () => ({ requestedAt: '2026-01-01T00:00:00+08:00' })],
    ['an authority', () => ({ authority: 'other' })],
    ['an id and more', () => ({ id: '0190b0d0-0000-7000-8000-000000000000' })],
  ])('with %s is refused and keeps nothing', async (_what, change) => {
    const before = await count();
    const answer = await post({ ...good(), ...change() });
    expect([answer.status, answer.body.code]).toEqual([400, 'request-invalid']);
    expect(await count()).toBe(before);
  });

  it('is its own authority’s, and auditors see all', async () => {
    const { id } = (await post(good())).body;
    expect((await post({ id, removedAt: at(0) }, 'stranger')).status).toBe(404);
    expect((await post(good(), 'homeless')).status).toBe(403);
    expect((await post(good(), 'auditor')).status).toBe(403);
    expect((await post(good(), 'stranger')).body.authority).toBe('other');
    const list = async (as: string) => (await rig.send('GET /v1/takedowns', undefined, { as })).body.items;
    const authorities = (items: { authority: string }[]) =>
      [...new Set(items.map(({ authority }) => authority))].sort();
    expect(authorities(await list('clerk'))).toEqual(['mcmc']);
    expect(authorities(await list('stranger'))).toEqual(['other']);
    expect(authorities(await list('auditor'))).toEqual(['mcmc', 'other']);
    expect(await list('homeless')).toEqual([]);
    expect((await rig.send('GET /v1/takedowns')).status).toBe(401);
  });

  it('is listed by category and time, newest request first, page by page', async () => {
    const times = [-9, -7, -8].map((days) => at(days * DAY));
    for (const requestedAt of times) await post({ ...good(), category: 'drugs', requestedAt });
    const seen: string[] = [];
    let next: string | undefined;
    do {
      const cursor: string = next === undefined ? '' : `&cursor=${next}`;
      const { body } = await rig.send(`GET /v1/takedowns?category=drugs&limit=1${cursor}`, undefined, { as: 'clerk' });
      seen.push(...body.items.map(({ requestedAt }: { requestedAt: string }) => requestedAt));
      next = body.next;
    } while (next !== undefined);
    expect(seen).toEqual([times[1], times[2], times[0]]);
    const query = `category=drugs&from=${times[2]}&until=${times[1]}`;
    const { body } = await rig.send(`GET /v1/takedowns?${query}`, undefined, { as: 'clerk' });
    expect(body.items.map(({ requestedAt }: { requestedAt: string }) => requestedAt)).toEqual([times[2]]);
    expect((await rig.send('GET /v1/takedowns?cursor=x', undefined, { as: 'clerk' })).status).toBe(400);
  });
});
