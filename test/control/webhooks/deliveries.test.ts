import { createPublicKey, verify } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventKind } from '../../../src/control/services.ts';
import type { DeliveryRecord, Store, WebhookRecord } from '../../../src/control/store.ts';
import { DeliveryRunner, MAX_ATTEMPTS } from '../../../src/control/webhooks/delivery-runner.ts';
import { createEventSink } from '../../../src/control/webhooks/event-sink.ts';
import { openWebhooks } from '../../../src/control/webhooks/open-webhooks.ts';
import type { ResolveHost } from '../../../src/control/webhooks/webhook-target.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { createRandom, keys } from '../../register/fixture.ts';
import { makeFolder } from '../../support/folders.ts';
import { waitUntil } from '../../support/wait.ts';

const DAY = 86_400;

interface Received {
  headers: IncomingMessage['headers'];
  body: string;
  url: string | undefined;
}

let clock: FakeClock;
let store: Store;
let server: Server;
let received: Received[];
let answer: (response: ServerResponse, request: IncomingMessage) => void;
let base: string;
const runners: DeliveryRunner[] = [];

beforeEach(async () => {
  clock = new FakeClock();
  store = await openStore(`sqlite:${join(makeFolder(), 'control.db')}`);
  received = [];
  answer = (response) => response.writeHead(204).end();
  server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    received.push({ headers: request.headers, body, url: request.url });
    answer(response, request);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  await Promise.all(runners.splice(0).map((runner) => runner.stop()));
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  await store.close();
});

const now = () => Math.floor(clock.wall / 1000);
const random = createRandom();
const sink = () => createEventSink({ clock, random });

function openRunner(changes: Partial<ConstructorParameters<typeof DeliveryRunner>[0]> = {}): DeliveryRunner {
  const runner = new DeliveryRunner({
    ...{ store, clock, random, key: keys.one, terms: { allowPrivateAddresses: true } },
    ...changes,
  });
  runners.push(runner);
  return runner;
}

async function addWebhook(changes: Partial<WebhookRecord> = {}): Promise<WebhookRecord> {
  const webhook: WebhookRecord = {
    ...{ id: `hook-${changes.id ?? 1}`, url: `${base}/hook`, events: ['statement.published'], owner: 'admin' },
    ...{ licensee: null, disabled: false, createdSeconds: now(), version: 1 },
    ...changes,
  };
  await store.transaction((tables) => tables.webhooks.insert(webhook));
  return webhook;
}

const emit = (event: EventKind = 'statement.published', data: object = { id: 'x' }, licensee?: string) =>
  store.transaction((tables) => sink().emit(tables, event, data, licensee));
const list = () => store.read((tables) => tables.deliveries.list({ limit: 200 }));
const first = async (): Promise<DeliveryRecord> => (await list())[0]!;

describe('an event', () => {
  it('becomes a delivery for each webhook that wants it, and may know of it', async () => {
    await addWebhook({ id: 'all' });
    await addWebhook({ id: 'own', licensee: 'NSP-1', events: ['node.stale', 'statement.published'] });
    await addWebhook({ id: 'other', licensee: 'NSP-2', events: ['node.stale'] });
    await addWebhook({ id: 'off', disabled: true });
    await emit('statement.published');
    expect((await list()).map(({ webhookId }) => webhookId).sort()).toEqual(['all', 'own']);
    await emit('node.stale', { node: 'kl-1' }, 'NSP-1');
    const stale = (await list()).filter(({ event }) => event === 'node.stale');
    expect(stale.map(({ webhookId }) => webhookId)).toEqual(['own']);
    expect(JSON.parse(stale[0]!.body)).toEqual({
      type: 'node.stale',
      timestamp: '2026-02-25T06:13:20Z',
      data: { node: 'kl-1' },
    });
  });

  it('leaves nothing behind when its transaction fails', async () => {
    await addWebhook();
    const failing = store.transaction(async (tables) => {
      await sink().emit(tables, 'statement.published', {});
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await list()).toEqual([]);
  });

  it('is dead at once when too many wait', async () => {
    await addWebhook();
    await store.transaction(async (tables) => {
      for (let i = 0; i < 1001; i++) await sink().emit(tables, 'statement.published', { i });
    });
    const dead = await store.read((tables) => tables.deliveries.list({ where: { state: 'dead' }, limit: 10 }));
    expect(dead).toMatchObject([{ lastError: 'too many deliveries were waiting' }]);
  });
});

describe('a delivery', () => {
  it('is signed as Standard Webhooks says', async () => {
    await addWebhook();
    await emit('statement.published', { id: 'ä' });
    expect(await openRunner().deliverDue()).toBe(1);
    const [{ headers, body }] = received as [Received];
    const { id } = await first();
    expect(headers['webhook-id']).toBe(id);
    expect(headers['webhook-timestamp']).toBe(String(now()));
    expect(headers['content-type']).toBe('application/json');
    const [version, signature] = String(headers['webhook-signature']).split(',');
    expect(version).toBe('v1a');
    // As a receiver does it: the key from the answer of POST /v1/webhooks, the text from the specification.
    const { terms, runner } = openWebhooks({
      store,
      clock,
      random,
      key: keys.one,
      terms: { allowPrivateAddresses: true },
    });
    runners.push(runner);
    const raw = Buffer.from(terms.signingKey.replace(/^whpk_/, ''), 'base64');
    const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]);
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    const signed = Buffer.from(`${id}.${headers['webhook-timestamp']}.${body}`, 'utf8');
    expect(verify(null, signed, key, Buffer.from(signature!, 'base64'))).toBe(true);
    expect(JSON.parse(body).data).toEqual({ id: 'ä' });
    expect(await first()).toMatchObject({ state: 'delivered', attempts: 1, lastStatus: 204, lastError: null });
    expect(await openRunner().deliverDue()).toBe(0);
    expect(received).toHaveLength(1);
  });

  it('is tried again with growing waits, under the same id, and taken at last', async () => {
    await addWebhook();
    await emit();
    answer = (response) => response.writeHead(500).end('a secret of the receiver');
    const runner = openRunner();
    const waits: number[] = [];
    for (let attempt = 1; attempt <= 3; attempt++) {
      expect(await runner.deliverDue()).toBe(1);
      const { nextAttemptSeconds, attempts, state, lastStatus, lastError } = await first();
      expect({ attempts, state, lastStatus }).toEqual({ attempts: attempt, state: 'waiting', lastStatus: 500 });
      expect(lastError).toBe('the receiver answered 500');
      waits.push(nextAttemptSeconds - now());
      clock.pass((nextAttemptSeconds - now()) * 1000 - 1000);
      expect(await runner.deliverDue()).toBe(0);
      clock.pass(1000);
    }
    for (const [at, wait] of waits.entries()) {
      expect(wait).toBeGreaterThanOrEqual(10 * 4 ** at);
      expect(wait).toBeLessThanOrEqual(Math.round(12.5 * 4 ** at));
    }
    answer = (response) => response.writeHead(200).end();
    await runner.deliverDue();
    expect(await first()).toMatchObject({ state: 'delivered', attempts: 4 });
    expect(new Set(received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(new Set(received.map(({ headers }) => headers['webhook-timestamp'])).size).toBe(4);
  });

  it('is dead after the last attempt, some days later', async () => {
    await addWebhook();
    await emit();
    answer = (response) => response.writeHead(503).end();
    const began = now();
    const outcomes: string[] = [];
    const runner = openRunner({ onAttempt: (outcome) => outcomes.push(outcome) });
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      await runner.deliverDue();
      clock.wall = Math.max(clock.wall, (await first()).nextAttemptSeconds * 1000);
    }
    expect(await first()).toMatchObject({ state: 'dead', attempts: MAX_ATTEMPTS });
    expect(outcomes).toEqual([...Array(MAX_ATTEMPTS - 1).fill('failed'), 'dead']);
    expect(now() - began).toBeGreaterThan(DAY);
    expect(now() - began).toBeLessThan(4 * DAY);
    expect(await runner.deliverDue()).toBe(0);
  });

  it('does not follow where it is sent on to', async () => {
    await addWebhook();
    await emit();
    answer = (response) => response.writeHead(307, { location: `${base}/elsewhere` }).end();
    await openRunner().deliverDue();
    expect(received).toHaveLength(1);
    expect(await first()).toMatchObject({ state: 'waiting', lastStatus: 307 });
  });

  it('ends for good when the receiver is gone, and so does its webhook', async () => {
    const webhook = await addWebhook();
    await emit();
    answer = (response) => response.writeHead(410).end();
    await openRunner().deliverDue();
    expect(await first()).toMatchObject({ state: 'dead', attempts: 1, lastStatus: 410 });
    expect(await store.read((tables) => tables.webhooks.get(webhook.id))).toMatchObject({ disabled: true });
    const trail = await store.read((tables) => tables.audit.list({ subject: `webhooks/${webhook.id}`, limit: 9 }));
    expect(trail).toMatchObject([
      { actor: 'system', action: 'disable a webhook', reason: 'its receiver answered 410' },
    ]);
  });

  it('is not sent to an address inside, however it is written', async () => {
    const resolve: ResolveHost = (_host, done) => done(null, [{ address: '127.0.0.1', family: 4 }]);
    const { port } = new URL(base);
    await addWebhook({ id: 'name', url: `https://hooks.example:${port}/` });
    await addWebhook({ id: 'literal', url: `https://127.0.0.1:${port}/` });
    await addWebhook({ id: 'plain', url: `http://hooks.example:${port}/` });
    await emit();
    await openRunner({ terms: { allowPrivateAddresses: false, resolve } }).deliverDue();
    expect(received).toEqual([]);
    const errors = (await list()).map(({ webhookId, lastError }) => `${webhookId}: ${lastError}`).sort();
    expect(errors).toEqual([
      'literal: url: it is no public address',
      'name: hooks.example leads to an address that is not public',
      'plain: url: write an https URL',
    ]);
  });

  it('goes to the address that was looked at', async () => {
    const asked: string[] = [];
    const resolve: ResolveHost = (host, done) => {
      asked.push(host);
      done(null, [{ address: '127.0.0.1', family: 4 }]);
    };
    await addWebhook({ url: base.replace('127.0.0.1', 'hooks.example') });
    await emit();
    await openRunner({ terms: { allowPrivateAddresses: true, resolve } }).deliverDue();
    expect(asked).toEqual(['hooks.example']);
    expect(received[0]?.headers.host).toBe(`hooks.example:${new URL(base).port}`);
    expect(await first()).toMatchObject({ state: 'delivered' });
  });

  it('tells of a receiver that is not there without what it said', async () => {
    await addWebhook({ url: 'http://127.0.0.1:1/' });
    await emit();
    await openRunner().deliverDue();
    const { lastError, lastStatus } = await first();
    expect(lastStatus).toBeNull();
    expect(lastError).toMatch(/^[\x20-\x7e]{1,200}$/);
  });

  it('of a slow receiver does not hold up another', async () => {
    await addWebhook({ id: 'slow', url: `${base}/slow` });
    await addWebhook({ id: 'fast', url: `${base}/fast` });
    for (let i = 0; i < 5; i++) await emit();
    const held: ServerResponse[] = [];
    answer = (response, { url }) => {
      if (url === '/slow') held.push(response);
      else response.writeHead(204).end();
    };
    const delivering = openRunner().deliverDue();
    await waitUntil('the fast ones are served', () => received.filter(({ url }) => url === '/fast').length === 5);
    answer = (response) => response.writeHead(204).end();
    for (const response of held) response.writeHead(204).end();
    await delivering;
    expect((await list()).every(({ state }) => state === 'delivered')).toBe(true);
  });
});

describe('a runner', () => {
  it('leaves a receiver in trouble alone for a while, and serves the others', async () => {
    await addWebhook({ id: 'broken', url: `${base}/broken` });
    await addWebhook({ id: 'good', url: `${base}/good` });
    await store.transaction(async (tables) => {
      for (let i = 0; i < 50; i++) await sink().emit(tables, 'statement.published', { i });
    });
    answer = (response, { url }) => response.writeHead(url === '/good' ? 204 : 500).end();
    const runner = openRunner();
    await runner.deliverDue();
    const served = (url: string) => received.filter((one) => one.url === url).length;
    expect(served('/good')).toBe(20);
    expect(served('/broken')).toBeLessThan(10);
    for (let round = 0; round < 2; round++) await runner.deliverDue();
    expect(served('/good')).toBe(50);
  });

  it('delivers when woken, and ends after what is under way', async () => {
    await addWebhook();
    const { events, runner } = openWebhooks({
      store,
      clock,
      random,
      key: keys.one,
      terms: { allowPrivateAddresses: true },
    });
    runners.push(runner);
    runner.start();
    await store.transaction((tables) => events.emit(tables, 'statement.published', {}));
    events.wake();
    await waitUntil('it is delivered', async () => (await first())?.state === 'delivered');
    await runner.stop();
    await emit();
    events.wake();
    expect((await list()).map(({ state }) => state).sort()).toEqual(['delivered', 'waiting']);
    runner.start();
    await waitUntil('the rest is delivered', async () => (await list()).every(({ state }) => state === 'delivered'));
  });

  it('removes what was settled long ago', async () => {
    await addWebhook();
    await emit();
    const runner = openRunner();
    await runner.deliverDue();
    clock.pass(6 * DAY * 1000);
    await runner.removeOld();
    expect(await list()).toHaveLength(1);
    clock.pass(2 * DAY * 1000);
    await runner.removeOld();
    expect(await list()).toEqual([]);
  });
});
