import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { spliceSockets } from '../../src/gateway/splice.ts';
import { waitUntil } from '../support/wait.ts';

const servers: Server[] = [];
afterAll(() => {
  for (const server of servers) server.close();
});

/** Two connected sockets: what one writes the other reads. */
async function connectPair(): Promise<{ near: Socket; far: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const far = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  return { near: await accepted, far };
}

/** A client and an origin, joined by two connections in between. */
async function joinPair(idleSeconds = 60) {
  const [client, origin] = await Promise.all([connectPair(), connectPair()]);
  const state = { isDone: false };
  spliceSockets(client.near, origin.near, idleSeconds, () => {
    state.isDone = true;
  });
  for (const { far } of [client, origin]) far.on('error', () => {});
  return { client: client.far, origin: origin.far, joined: [client.near, origin.near], state };
}

function gather(socket: Socket): { bytes: number; isEnded: boolean } {
  const seen = { bytes: 0, isEnded: false };
  socket.on('data', (chunk: Buffer) => {
    seen.bytes += chunk.length;
  });
  socket.on('end', () => {
    seen.isEnded = true;
  });
  return seen;
}

const LARGE = Buffer.alloc(8_000_000, 1);

describe('two joined connections', () => {
  it('carry what either side sends, and end when both have ended', async () => {
    const { client, origin, state } = await joinPair();
    const [atClient, atOrigin] = [gather(client), gather(origin)];
    client.end(LARGE);
    await waitUntil('the upload', () => atOrigin.isEnded);
    expect(atOrigin.bytes).toBe(LARGE.length);
    // The client's side is closed, the other one still goes on.
    origin.write(LARGE);
    await waitUntil('the answer', () => atClient.bytes === LARGE.length);
    expect(state.isDone).toBe(false);
    origin.end();
    await waitUntil('the end', () => state.isDone);
    expect(atClient.isEnded).toBe(true);
  });

  it('lose nothing when the origin is done, and the client, who is done too, reads slowly', async () => {
    const { client, origin, joined, state } = await joinPair();
    const atClient = gather(client);
    client.pause();
    client.end('hello');
    origin.resume();
    let sentBytes = 0;
    // Until the client's connection is full, and something is left in between.
    while (joined[0]!.writableLength === 0) {
      await new Promise((resolve) => origin.write(LARGE.subarray(0, 32_768), resolve));
      sentBytes += 32_768;
      await sleep(1);
    }
    origin.end();
    await waitUntil('the origin is gone', () => joined[1]!.destroyed);
    client.resume();
    await waitUntil('the end', () => state.isDone && atClient.isEnded);
    expect(atClient.bytes).toBe(sentBytes);
  });

  it('hold the faster side up instead of gathering what it sends', async () => {
    const { client, origin, joined } = await joinPair();
    client.pause();
    let sent = 0;
    for (let stalled = 0; stalled < 20; ) {
      if (origin.writableLength > 0) {
        stalled += 1;
        await sleep(5);
        continue;
      }
      stalled = 0;
      sent += LARGE.length;
      origin.write(LARGE);
    }
    expect(sent).toBeGreaterThanOrEqual(LARGE.length);
    expect(joined[0]!.writableLength + joined[1]!.readableLength).toBeLessThan(300_000);
    origin.destroy();
    client.destroy();
  });

  it('are closed both when one of them is reset', async () => {
    const { client, origin, state } = await joinPair();
    const atOrigin = gather(origin);
    client.write('hello');
    await waitUntil('the greeting', () => atOrigin.bytes === 5);
    client.resetAndDestroy();
    await waitUntil('the end', () => state.isDone);
  });

  it.each(['before anything was said', 'while one side takes nothing'])('are closed when quiet: %s', async (when) => {
    const { client, origin, state } = await joinPair(0.3);
    if (when !== 'before anything was said') {
      client.pause();
      origin.write(LARGE);
    }
    await waitUntil('the end', () => state.isDone);
    client.destroy();
    origin.destroy();
  });
});
