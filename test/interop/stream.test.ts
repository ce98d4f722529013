import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { ask, askStream, frame, StreamClient } from '../support/dns-client.ts';
import { composeQuery, parseAnswer } from '../support/dns-message.ts';
import { composeReply, type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite, type TestNode } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';

let upstream: StubUpstream;
let node: TestNode;

/** Starts a node whose streams have these limits, in front of an upstream that keeps silent about `silent.*`. */
async function start(streams: object = {}, resolver: object = {}) {
  const compose = (query: Buffer) => (query.includes('silent') ? undefined : composeReply(query));
  upstream = await startStubUpstream(compose, { keep: true });
  const site = await NodeSite.prepare({ upstreams: [upstream], resolver: { streams, ...resolver } });
  site.register.notice('n', [{ subtree: 'bad.example' }]);
  node = await site.startHere();
  return node.server;
}

afterEach(async () => {
  await node.stop();
  await upstream.close();
});

const received = (client: StreamClient, count: number) =>
  waitUntil(`${count} answers`, () => client.received.length >= count && client.received.map(parseAnswer));

const closed = (client: StreamClient) => waitUntil('the connection is closed', () => client.closed);

test('queries in one segment are all answered, and none waits for a slow one before it', async () => {
  const server = await start({}, { timeoutMillis: 300, attempts: 1 });
  const client = await StreamClient.open(server);
  const names = ['silent.example', 'www.bad.example', 'a.example', 'bad.example', 'b.example'];
  client.send(...names.map((name, id) => composeQuery(name, { id, edns: {} })));
  const answers = await received(client, 5);
  expect(answers.map(({ id, rcode }) => `${id} ${rcode}`).sort()).toEqual([
    '0 SERVFAIL',
    '1 NXDOMAIN',
    '2 NOERROR',
    '3 NXDOMAIN',
    '4 NOERROR',
  ]);
  expect(answers.at(-1)).toMatchObject({ id: 0, ede: { code: 22 } });
  client.close();
});

test('a message may arrive octet by octet', async () => {
  const client = await StreamClient.open(await start());
  const bytes = Buffer.concat(['bad.example', 'good.example'].map((name, id) => frame(composeQuery(name, { id }))));
  for (const byte of bytes) {
    client.socket.write(Buffer.of(byte));
    await sleep(1);
  }
  const answers = await received(client, 2);
  expect(answers.map(({ rcode }) => rcode)).toEqual(['NXDOMAIN', 'NOERROR']);
  client.close();
});

test('a connection serves query after query', async () => {
  const client = await StreamClient.open(await start());
  for (let id = 0; id < 200; id++) {
    client.send(composeQuery(id % 2 === 0 ? 'bad.example' : 'good.example', { id }));
    if (id % 20 === 0) await received(client, id + 1);
  }
  expect(new Set((await received(client, 200)).map(({ id }) => id)).size).toBe(200);
  client.close();
});

test('an idle connection is closed, one that waits for its answer is not', async () => {
  const server = await start({ idleSeconds: 1 }, { timeoutMillis: 1500, attempts: 1 });
  const idle = await StreamClient.open(server);
  const half = await StreamClient.open(server);
  half.socket.write(frame(composeQuery('bad.example')).subarray(0, 5));
  const waiting = await StreamClient.open(server);
  waiting.send(composeQuery('silent.example'));
  await closed(idle);
  await closed(half);
  expect((await received(waiting, 1))[0]!.rcode).toBe('SERVFAIL');
  await closed(waiting);
  await waitUntil('no connection is left', () => node.resolver.streams.connectionCount === 0);
});

test.each([
  ['a length beyond what a query may have', Buffer.of(0xff, 0xff, 1, 2, 3)],
  ['an empty message', Buffer.of(0, 0)],
  ['a message shorter than a header', frame(Buffer.alloc(5))],
  ['a response', frame(composeQuery('bad.example', { flags: 0x8100 }))],
])('%s ends the connection without an answer', async (_, bytes) => {
  const client = await StreamClient.open(await start());
  client.socket.write(bytes);
  await closed(client);
  expect(client.received).toEqual([]);
});

test('a malformed question is refused with FORMERR', async () => {
  const client = await StreamClient.open(await start());
  client.send(composeQuery('bad.example').subarray(0, 20));
  expect((await received(client, 1))[0]!.rcode).toBe('FORMERR');
  client.close();
});

test('one client has so many connections, others have theirs', async () => {
  const server = await start({ maxConnectionsPerClient: 3 });
  const clients = await Promise.all([1, 2, 3].map(() => StreamClient.open(server)));
  await waitUntil('three connections', () => node.resolver.streams.connectionCount === 3);
  await closed(await StreamClient.open(server));
  const other = connect({ ...server, localAddress: '127.0.0.9' });
  other.write(frame(composeQuery('bad.example')));
  await once(other, 'data');
  other.destroy();
  clients[0]!.close();
  await waitUntil('one is closed', () => node.resolver.streams.connectionCount === 2);
  expect((await askStream(server, 'bad.example')).rcode).toBe('NXDOMAIN');
  for (const client of clients) {
    if (client === clients[0]) continue;
    client.send(composeQuery('bad.example'));
    await received(client, 1);
    client.close();
  }
});

test('all clients together have so many connections', async () => {
  const server = await start({ maxConnections: 2 });
  const clients = await Promise.all([1, 2].map(() => StreamClient.open(server)));
  await waitUntil('two connections', () => node.resolver.streams.connectionCount === 2);
  await closed(await StreamClient.open(server));
  expect((await ask(server, 'bad.example')).rcode).toBe('NXDOMAIN');
  for (const client of clients) client.close();
});

test('so many queries of a connection are under way at once, and the others follow', async () => {
  const server = await start({ maxPipelined: 4 }, { timeoutMillis: 300, attempts: 1 });
  const client = await StreamClient.open(server);
  client.send(...Array.from({ length: 10 }, (_, id) => composeQuery(`silent${id}.example`, { id })));
  const asked = () => upstream.received.filter((query) => query.includes('silent')).length;
  await waitUntil('the first reach the upstream', () => asked() >= 4);
  expect(client.received).toEqual([]);
  expect(asked()).toBe(4);
  expect((await received(client, 10)).every(({ rcode }) => rcode === 'SERVFAIL')).toBe(true);
  expect(asked()).toBe(10);
  client.close();
});

test('a client that does not read its answers is cut off, and the others are served', async () => {
  const server = await start();
  const client = await StreamClient.open(server);
  client.socket.pause();
  const burst = Buffer.concat(Array.from({ length: 500 }, () => frame(composeQuery('bad.example', { edns: {} }))));
  for (let i = 0; i < 1000 && !client.closed; i++) {
    if (!client.socket.write(burst)) await sleep(5);
  }
  await waitUntil('the connection is closed', () => node.resolver.streams.connectionCount === 0);
  expect((await askStream(server, 'bad.example')).rcode).toBe('NXDOMAIN');
  client.close();
});
