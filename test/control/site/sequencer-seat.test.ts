import { sign } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { composePreAuthentication, PAYLOAD_TYPE } from '../../../src/register/envelope.ts';
import { ControlDesk } from '../../support/control-desk.ts';
import { officerKey } from '../../support/log-register.ts';
import { query, startPostgres, type TestPostgres } from '../../support/postgres.ts';
import { waitUntil } from '../../support/wait.ts';

let postgres: TestPostgres;
let desk: ControlDesk;
let number = 0;

beforeAll(async () => {
  postgres = await startPostgres();
});

afterAll(() => postgres?.stop());

beforeEach(async () => {
  desk = await ControlDesk.create({ database: await postgres.createDatabase() });
});

afterEach(() => desk.close());

/** Takes a halt, which one officer can sign alone, to the queue; returns its path. */
async function queueHalt(): Promise<string> {
  const body = { reference: `HALT/${number++}`, reasons: { public: 'A test.' }, instrument: 'cma-263', from: 'now' };
  const path = `/v1/halts/${(await desk.send('one', 'POST', '/v1/halts', body)).body.id}`;
  await desk.send('one', 'POST', `${path}/propose`);
  const { body: payload } = await desk.send('one', 'GET', `${path}/payload`);
  const bytes = Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload));
  const sig = sign(null, composePreAuthentication(PAYLOAD_TYPE, bytes), officerKey('one')).toString('base64');
  await desk.send('one', 'POST', `${path}/signatures`, { keyid: 'one', sig });
  expect(await desk.send('one', 'POST', `${path}/publish`)).toMatchObject({ body: { state: 'queued' } });
  return path;
}

async function waitForLeaf(path: string): Promise<number> {
  return waitUntil(`${path} is published`, async () => {
    const { body } = await desk.send('one', 'GET', path);
    return body.state === 'published' ? body.leafIndex : undefined;
  });
}

it('is one among two processes; what either takes in is published by the one that has it', async () => {
  const peer = await desk.openPeer();
  expect([desk.site.isSequencing, peer.isSequencing]).toEqual([true, false]);
  const index = await waitForLeaf(await queueHalt());
  await waitUntil('the other process has read it', () => (peer.services.register.size > index ? true : undefined));
});

it('goes to the other process when the first one ends, with all that is queued', async () => {
  const peer = await desk.openPeer();
  await waitForLeaf(await queueHalt());
  await desk.site.stopSequencing();
  const path = await queueHalt();
  await waitUntil('the other process has the sequencer', () => peer.isSequencing || undefined);
  await waitForLeaf(path);
});

it('is given up when the connection that held it breaks, and taken again', async () => {
  await waitForLeaf(await queueHalt());
  await query(
    postgres.url(),
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'warta sequencer'",
  );
  await waitUntil('it has the sequencer again', async () => {
    const path = await queueHalt().catch(() => undefined);
    return path === undefined ? undefined : waitForLeaf(path);
  });
});
