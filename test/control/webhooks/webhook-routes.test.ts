import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { publicKeyOf } from '../../../src/register/key.ts';
import { keys } from '../../register/fixture.ts';
import { EffectBench } from '../effect/effect-bench.ts';

let bench: EffectBench;
beforeEach(async () => {
  bench = await EffectBench.create();
});
afterEach(() => bench.close());

const create = (user: string, body: object = {}) =>
  bench.send(user, 'POST', '/v1/webhooks', { url: 'http://127.0.0.1:1/x', events: ['statement.published'], ...body });
const emit = () => bench.store.transaction((tables) => bench.services.events.emit(tables, 'statement.published', {}));

describe('a webhook', () => {
  it('is made with the key that its deliveries are signed with', async () => {
    const { status, body } = await create('operator');
    expect(status).toBe(201);
    expect(body).toMatchObject({
      ...{ url: 'http://127.0.0.1:1/x', events: ['statement.published'], owner: 'operator', licensee: 'A' },
      ...{ disabled: false, signingKey: `whpk_${publicKeyOf(keys.one!)}` },
    });
  });

  it.each([
    [{ url: 'ftp://x.example/' }, 400],
    [{ url: 'https://user:word@x.example/' }, 400],
    [{ events: [] }, 400],
    [{ events: ['statement.published', 'statement.published'] }, 400],
    [{ events: ['something.else'] }, 400],
    [{ events: ['appeal.filed'] }, 403],
    [{ events: ['notice.review-due', 'statement.published'] }, 403],
  ])('is refused to an operator with %j', async (body, status) => {
    expect((await create('operator', body)).status).toBe(status);
    expect((await bench.send('admin', 'GET', '/v1/webhooks')).body.items).toEqual([]);
  });

  it('is its own ISP’s', async () => {
    const mine = await create('operator');
    const theirs = await create('operator-b');
    const regulators = await create('admin', { events: ['appeal.filed', 'appeal.decided'] });
    expect(regulators.body.licensee).toBeUndefined();
    const seen = async (user: string) =>
      (await bench.send(user, 'GET', '/v1/webhooks')).body.items.map(({ id }: { id: string }) => id);
    expect(await seen('operator')).toEqual([mine.body.id]);
    expect((await seen('admin')).sort()).toEqual([mine, theirs, regulators].map(({ body }) => body.id).sort());
    for (const id of [theirs.body.id, regulators.body.id]) {
      expect((await bench.send('operator', 'DELETE', `/v1/webhooks/${id}`)).status).toBe(404);
      expect((await bench.send('operator', 'GET', `/v1/webhooks/${id}/deliveries`)).status).toBe(404);
    }
    expect((await bench.send('officer', 'GET', '/v1/webhooks')).status).toBe(403);
  });

  it('is deleted with its deliveries', async () => {
    const { body } = await create('operator');
    await emit();
    const mismatch = await bench.send('operator', 'DELETE', `/v1/webhooks/${body.id}`, undefined, {
      'if-match': '"7"',
    });
    expect(mismatch.status).toBe(412);
    expect((await bench.send('operator', 'DELETE', `/v1/webhooks/${body.id}`)).status).toBe(204);
    expect(await bench.store.read((tables) => tables.deliveries.count())).toBe(0);
    expect((await bench.send('operator', 'DELETE', `/v1/webhooks/${body.id}`)).status).toBe(404);
  });

  it('is one of twenty at most', async () => {
    for (let i = 0; i < 20; i++) expect((await create('operator')).status).toBe(201);
    expect((await create('operator')).status).toBe(409);
    expect((await create('operator-b')).status).toBe(201);
  });
});

describe('deliveries', () => {
  it('are shown, and sent again by hand', async () => {
    const { body } = await create('operator');
    for (let i = 0; i < 3; i++) {
      await emit();
      bench.pass(1);
    }
    const path = `/v1/webhooks/${body.id}/deliveries`;
    const all = (await bench.send('operator', 'GET', path)).body;
    expect(all.items).toHaveLength(3);
    expect(all.items[0]).toMatchObject({ event: 'statement.published', state: 'waiting', attempts: 0 });
    const pages = (await bench.send('operator', 'GET', `${path}?limit=2`)).body;
    expect((await bench.send('operator', 'GET', `${path}?limit=2&cursor=${pages.next}`)).body.items).toHaveLength(1);
    const [newest, second] = all.items;
    await bench.store.transaction(async (tables) => {
      const changes = { state: 'dead', attempts: 10, lastStatus: 500, lastError: 'the receiver answered 500' } as const;
      await tables.deliveries.update(newest.id, changes);
      await tables.deliveries.update(second.id, { state: 'delivered' });
    });
    const dead = (await bench.send('admin', 'GET', `${path}?state=dead`)).body.items;
    expect(dead).toMatchObject([
      { id: newest.id, attempts: 10, lastStatus: 500, lastError: 'the receiver answered 500' },
    ]);
    const retry = (id: string, user = 'operator') => bench.send(user, 'POST', `${path}/${id}/retry`);
    expect((await retry(newest.id)).body).toMatchObject({ state: 'waiting', attempts: 0 });
    expect((await retry(second.id)).status).toBe(409);
    expect((await retry('none')).status).toBe(404);
    expect((await retry(newest.id, 'operator-b')).status).toBe(404);
    const trail = await bench.store.read((tables) =>
      tables.audit.list({ subject: `deliveries/${newest.id}`, limit: 9 }),
    );
    expect(trail).toHaveLength(1);
  });
});
