import { afterEach, beforeEach, expect, it } from 'vitest';
import { ControlDesk } from '../../support/control-desk.ts';

let desk: ControlDesk;

beforeEach(async () => {
  desk = await ControlDesk.create();
});

afterEach(() => desk.close());

it('serves the register and knows who asks', async () => {
  const checkpoint = await desk.send(undefined, 'GET', '/checkpoint');
  expect(checkpoint.status).toBe(200);
  expect(checkpoint.body).toContain(desk.register.origin);
  expect(desk.site.isSequencing).toBe(true);
  expect(await desk.send('drafter', 'GET', '/v1/me')).toMatchObject({ status: 200, body: { id: 'drafter' } });
  expect(await desk.send(undefined, 'GET', '/v1/me')).toMatchObject({ status: 401, body: { code: 'unauthenticated' } });
});
