import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OUTCOME } from '../../src/metrics/shared-counters.ts';
import { dig } from '../support/dig.ts';
import { ask, askStream, DatagramClient, type Server } from '../support/dns-client.ts';
import { composeQuery, parseAnswer } from '../support/dns-message.ts';
import { hasProgram } from '../support/programs.ts';
import { type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite, type TestNode } from '../support/test-node.ts';

let upstream: StubUpstream;
let upstream6: StubUpstream;

beforeAll(async () => {
  upstream = await startStubUpstream();
  upstream6 = await startStubUpstream(undefined, { host: '::1' });
});

afterAll(async () => {
  await Promise.all([upstream?.close(), upstream6?.close()]);
});

const BACKENDS = ['batch', 'dgram'] as const;

/** Starts a node on these hosts with both upstreams. */
async function startNode(io: 'batch' | 'dgram' | 'auto', hosts: string[], resolver: object = {}): Promise<TestNode> {
  const site = await NodeSite.prepare({ upstreams: [upstream, upstream6], hosts, resolver: { io, ...resolver } });
  site.register.notice('n', [{ subtree: 'bad.example' }]);
  return site.startHere();
}

/** A blocked and a forwarded name, over UDP and TCP. */
async function expectService(server: Server) {
  for (const over of [ask, askStream]) {
    const blocked = await over(server, 'www.bad.example', { edns: {} });
    expect([blocked.rcode, blocked.ede?.code]).toEqual(['NXDOMAIN', 16]);
    for (let i = 0; i < 4; i++) {
      const forwarded = await over(server, `n${i}.example`);
      expect(forwarded.answers).toMatchObject([{ name: `n${i}.example`, address: '192.0.2.1' }]);
    }
  }
}

describe.each(BACKENDS)('with %s I/O', (io) => {
  test('IPv4, IPv6 and several addresses at once', async () => {
    const node = await startNode(io, ['127.0.0.1', '::1', '127.0.0.5']);
    const { port } = node.server;
    for (const host of ['127.0.0.1', '::1', '127.0.0.5']) await expectService({ host, port });
    expect(node.log.join('')).toContain(`datagram I/O: ${io}`);
    await node.stop();
  });

  test('a wildcard address', async () => {
    const node = await startNode(io, ['0.0.0.0', '::']);
    const { port } = node.server;
    await expectService({ host: '127.0.0.1', port });
    await expectService({ host: '::1', port });
    await node.stop();
  });

  test('two workers share the port', async () => {
    const node = await startNode(io, ['127.0.0.1'], { workers: 2 });
    // The kernel spreads clients over the workers by their ports.
    const clients = Array.from({ length: 64 }, () => new DatagramClient(node.server));
    const answers = await Promise.all(
      clients.flatMap((client) =>
        ['www.bad.example', 'good.example'].map((name, id) => client.exchange(composeQuery(name, { id }))),
      ),
    );
    const rcodes = answers.map((answer) => answer && parseAnswer(answer).rcode);
    expect(rcodes).toEqual(clients.flatMap(() => ['NXDOMAIN', 'NOERROR']));
    const shares = node.resolver.counters.slice(1).map((one) => one.outcome(OUTCOME.blocked));
    expect(shares).toEqual([expect.any(Number), expect.any(Number)]);
    expect(Math.min(...shares)).toBeGreaterThan(0);
    expect(shares[0]! + shares[1]!).toBe(64);
    for (const client of clients) client.close();
    await node.stop();
  });

  test('clients outside the ACL get no answer', async () => {
    const node = await startNode(io, ['127.0.0.1'], { allow: ['10.0.0.0/8'] });
    const client = new DatagramClient(node.server);
    expect(await client.exchange(composeQuery('bad.example'), 300)).toBeUndefined();
    await expect(askStream(node.server, 'bad.example')).rejects.toThrow();
    client.close();
    await node.stop();
  });

  test('in observe mode nothing is blocked and everything is counted', async () => {
    const node = await startNode(io, ['127.0.0.1'], { mode: 'observe' });
    for (const over of [ask, askStream]) expect((await over(node.server, 'www.bad.example')).rcode).toBe('NOERROR');
    const observed = node.resolver.counters.map((one) => one.outcome(OUTCOME.observed));
    expect(observed).toEqual([1, 1]);
    await node.stop();
  });
});

describe.skipIf(!hasProgram('dig'))('batch I/O on a wildcard address', () => {
  // dig takes no answer from another address than the one it asked.
  test('answers from the address that was asked', async () => {
    const node = await startNode('batch', ['0.0.0.0']);
    const { port } = node.server;
    for (const host of ['127.0.0.1', '127.0.0.2', '127.1.2.3']) {
      for (const [name, status] of [
        ['www.bad.example', 'NXDOMAIN'],
        ['www.example', 'NOERROR'],
      ] as const) {
        expect((await dig({ host, port }, name)).status).toBe(status);
        expect((await dig({ host, port }, name, ['+tcp'])).status).toBe(status);
      }
    }
    await node.stop();
  });
});
