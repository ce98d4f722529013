import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dig } from '../support/dig.ts';
import { ask, askRaw, askStream, askStreamRaw, DatagramClient } from '../support/dns-client.ts';
import { composeQuery, parseAnswer, TYPE } from '../support/dns-message.ts';
import { findFreePort } from '../support/ports.ts';
import { hasProgram, runProgram } from '../support/programs.ts';
import { type RealUpstream, startBind, startUnbound } from '../support/real-upstreams.ts';
import { composeReply, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite, type TestNode } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';

const HAS_DIG = hasProgram('dig');
/** What every node here blocks; aliases in the upstreams' zones lead into it. */
const BLOCKED = [{ subtree: 'blocked.test' }];
const RESOLVER = { timeoutMillis: 500, health: { checkName: 'real.test', intervalMillis: 200, timeoutMillis: 500 } };

/** Starts a node in front of upstreams. */
async function startNode(upstreams: readonly { host: string; port: number }[], resolver: object = {}) {
  const site = await NodeSite.prepare({ upstreams, resolver: { ...RESOLVER, ...resolver } });
  site.register.notice('n', BLOCKED);
  return site.startHere();
}

/** Names whose answers must come through untouched. */
const UNTOUCHED: [name: string, type: keyof typeof TYPE][] = [
  ['www.real.test', 'A'],
  ['www.real.test', 'AAAA'],
  ['www.real.test', 'MX'],
  ['wWw.ReAl.TeSt', 'A'],
  ['mixed.real.test', 'A'],
  ['real.test', 'MX'],
  ['real.test', 'SOA'],
  ['txt.real.test', 'TXT'],
  ['big.real.test', 'TXT'],
  ['huge.real.test', 'TXT'],
  ['alias.real.test', 'A'],
  ['name.good-tree.real.test', 'A'],
  ['https.real.test', 'HTTPS'],
  ['https-alias.real.test', 'HTTPS'],
  ['any.wild.real.test', 'A'],
  ['none.real.test', 'A'],
  ['www.real.test', 'ANY'],
];

/** Names that lead to a blocked one. */
const LEADING: [name: string, type: keyof typeof TYPE][] = [
  ['chain.real.test', 'A'],
  ['chain.real.test', 'AAAA'],
  ['name.bad-tree.real.test', 'A'],
  ['https-bad.real.test', 'HTTPS'],
  ['svcb-bad.real.test', 'SVCB'],
];

const KINDS = [
  { kind: 'unbound', program: 'unbound', start: () => startUnbound() },
  { kind: 'bind', program: 'named', start: () => startBind() },
];

for (const { kind, program, start } of KINDS) {
  describe.skipIf(!hasProgram(program) || !HAS_DIG)(`in front of ${kind}`, () => {
    let upstream: RealUpstream;
    let node: TestNode;

    beforeAll(async () => {
      upstream = await start();
      node = await startNode([upstream]);
    });

    afterAll(async () => {
      await node?.stop();
      await upstream?.program.stop();
    });

    test.each(UNTOUCHED)('%s %s comes through octet for octet', async (name, type) => {
      const forms = [
        { over: askRaw },
        { over: askRaw, edns: {} },
        { over: askRaw, edns: { flags: 0x8000, udpBytes: 512 } },
        { over: askStreamRaw },
        { over: askStreamRaw, edns: { udpBytes: 4096 } },
      ];
      for (const { over, edns } of forms) {
        const query = composeQuery(name, { type: TYPE[type], edns });
        // Asked before and after, because the time to live may count down in between.
        const before = await over(upstream, query);
        const through = await over(node.server, query);
        const after = await over(upstream, query);
        expect([before.toString('hex'), after.toString('hex')]).toContain(through.toString('hex'));
      }
    });

    test.each(LEADING)('%s %s is blocked by its target, first and when cached', async (name, type) => {
      for (const over of [ask, ask, askStream]) {
        const answer = await over(node.server, name, { type: TYPE[type], edns: {} });
        expect(answer).toMatchObject({ rcode: 'NOERROR', answers: [], soa: { owner: name }, ede: { code: 16 } });
      }
    });

    test('a set beyond 1232 octets is truncated over UDP and whole over TCP', async () => {
      for (const name of ['big.real.test', 'huge.real.test']) {
        const cut = await ask(node.server, name, { type: TYPE.TXT, edns: { udpBytes: 4096 } });
        expect([cut.tc, cut.answers.length]).toEqual([true, 0]);
        const printed = await Promise.all(
          [node.server, upstream].map((server) => dig(server, name, ['TXT', '+short', '+bufsize=4096'])),
        );
        expect(printed[0]!.output).toContain('"part 19 ');
        expect(printed[0]!.output).toBe(printed[1]!.output);
      }
    });

    test('the upstream counts as up', async () => {
      await node.resolver.monitor.checkAll();
      await node.resolver.monitor.checkAll();
      expect([...node.resolver.monitor.up]).toEqual([1]);
    });

    test('without the upstream blocked names are blocked and others fail with a reason', async () => {
      const other = await start();
      const alone = await startNode([other], { timeoutMillis: 200 });
      await other.program.stop();
      for (const over of [ask, askStream]) {
        const blocked = await over(alone.server, 'x.blocked.test', { edns: {} });
        expect([blocked.rcode, blocked.ede?.code]).toEqual(['NXDOMAIN', 16]);
        const failed = await over(alone.server, 'www.real.test', { edns: {} });
        expect(failed.rcode).toBe('SERVFAIL');
        expect([22, 23]).toContain(failed.ede?.code);
      }
      await waitUntil('the upstream counts as down', () => alone.resolver.monitor.up[0] === 0);
      expect(alone.log.join('')).toContain('does not answer the health check');
      await alone.stop();
    });
  });
}

describe.skipIf(!hasProgram('unbound') || !hasProgram('named'))('two upstreams', () => {
  // A killed one refuses, a frozen one keeps silent: the first shows at once, the second after the time-out.
  test.each(['SIGKILL', 'SIGSTOP'] as const)('no query fails when one gets %s', async (signal) => {
    const unbound = await startUnbound();
    const bind = await startBind();
    const node = await startNode([unbound, bind]);
    const client = new DatagramClient(node.server);
    const rcodes = new Map<string, number>();
    const count = (_: string, answer: Buffer | undefined) => {
      const rcode = answer === undefined ? 'lost' : parseAnswer(answer).rcode;
      rcodes.set(rcode, (rcodes.get(rcode) ?? 0) + 1);
    };
    const names = (tag: string) => Array.from({ length: 1000 }, (_, i) => `${tag}${i}.wild.real.test`);
    await client.askAll(names('before'), count, { window: 32 });
    const asking = client.askAll(names('during'), count, { window: 32 });
    bind.program.kill(signal);
    await asking;
    await waitUntil('BIND counts as down', () => node.resolver.monitor.up[1] === 0);
    await client.askAll(names('after'), count, { window: 32 });
    expect(Object.fromEntries(rcodes)).toEqual({ NOERROR: 3000 });
    expect((await askStream(node.server, 'www.real.test')).rcode).toBe('NOERROR');
    client.close();
    await node.stop();
    bind.program.kill('SIGCONT');
    await Promise.all([unbound.program.stop(), bind.program.stop()]);
  });
});

test('a live upstream is found even when the health check is wrong about all', async () => {
  // Answers clients and drops what the monitor asks, as a firewall may; the other port is closed.
  const stub = await startStubUpstream((query) => (query.includes('real') ? undefined : composeReply(query)));
  const node = await startNode([stub, { host: '127.0.0.1', port: await findFreePort() }]);
  await waitUntil('both count as down', () => node.resolver.monitor.up.every((up) => up === 0));
  const client = new DatagramClient(node.server);
  const rcodes = new Set<string>();
  const names = Array.from({ length: 500 }, (_, i) => `n${i}.example`);
  await client.askAll(names, (_, answer) => rcodes.add(answer ? parseAnswer(answer).rcode : 'lost'), { window: 32 });
  expect([...rcodes]).toEqual(['NOERROR']);
  client.close();
  await node.stop();
  await stub.close();
});

describe.skipIf(!hasProgram('unbound') || !HAS_DIG)('PROXY protocol v2', () => {
  test('Unbound judges the client by its own address', async () => {
    const proxyPort = await findFreePort();
    // Unbound judges the sidecar's own address too: 127.0.0.1 is allowed by default.
    const server = ['access-control: 127.9.0.0/16 refuse', 'access-control: 127.9.9.9/32 allow', 'log-queries: yes']
      .map((line) => `  ${line}`)
      .join('\n');
    const upstream = await startUnbound({ server, proxyPort });
    const site = await NodeSite.prepare({
      upstreams: [{ host: '127.0.0.1', port: proxyPort }],
      hosts: ['127.0.0.1', '::1'],
      resolver: { ...RESOLVER, proxyProtocol: true },
    });
    site.register.notice('n', BLOCKED);
    const node = await site.startHere();
    for (const transport of ['+notcp', '+tcp']) {
      const from = async (args: string[]) => (await dig(node.server, 'www.real.test', [transport, ...args])).status;
      expect(await from(['-b', '127.9.9.9'])).toBe('NOERROR');
      expect(await from(['-b', '127.9.9.8'])).toBe('REFUSED');
      const six = await dig({ host: '::1', port: node.server.port }, 'www.real.test', [transport]);
      expect(six.status).toBe('NOERROR');
    }
    const logged = [...upstream.program.output().matchAll(/info: (\S+) www\.real\.test\. A IN/g)].map(
      ([, from]) => from,
    );
    expect(logged.slice(-4)).toEqual(['127.9.9.9', '::1', '127.9.9.9', '::1']);
    await node.resolver.monitor.checkAll();
    await node.resolver.monitor.checkAll();
    expect([...node.resolver.monitor.up], 'the health check needs a PROXY header too').toEqual([1]);
    await node.stop();
    await upstream.program.stop();
  });
});

describe.skipIf(!hasProgram('named') || !HAS_DIG)('an upstream that insists on cookies', () => {
  // The sidecar is the one server the client's cookies are for; the upstream sees a client that has none.
  test('a client with cookies is answered at once, and every answer carries ours', async () => {
    const upstream = await startBind({ options: 'require-server-cookie yes;' });
    const node = await startNode([upstream]);
    const direct = await dig(upstream, 'www.real.test', ['+cookie=0123456789abcdef', '+nobadcookie']);
    expect(direct.status).toBe('BADCOOKIE');
    let cookie = '0123456789abcdef';
    for (const [name, status, args] of [
      ['www.real.test', 'NOERROR', []],
      ['x.blocked.test', 'NXDOMAIN', []],
      ['chain.real.test', 'NOERROR', []],
      ['none.real.test', 'NXDOMAIN', []],
      ['www.real.test', 'NOERROR', ['+tcp']],
      ['big.real.test', 'NOERROR', ['TXT', '+ignore']],
      ['big.real.test', 'NOERROR', ['TXT', '+tcp']],
    ] as const) {
      const answer = await dig(node.server, name, [`+cookie=${cookie}`, '+nobadcookie', ...args]);
      expect([name, answer.status, answer.cookie?.judgement]).toEqual([name, status, 'good']);
      expect(answer.cookie?.hex).toMatch(/^0123456789abcdef01000000[0-9a-f]{24}$/);
      cookie = answer.cookie!.hex;
    }
    await node.stop();
    await upstream.program.stop();
  });
});

describe.skipIf(!hasProgram('unbound') || !hasProgram('dnsperf'))('dnsperf', () => {
  test.each(['udp', 'tcp'])('gets every answer over %s', async (mode) => {
    const upstream = await startUnbound();
    const node = await startNode([upstream]);
    const file = `${node.folder}/queries`;
    writeFileSync(file, 'www.real.test A\nx.blocked.test AAAA\nchain.real.test A\nalias.real.test A\n');
    const { port } = node.server;
    const args = [
      '-s',
      '127.0.0.1',
      '-p',
      String(port),
      '-m',
      mode,
      '-d',
      file,
      '-n',
      '500',
      '-c',
      '4',
      '-q',
      '40',
      '-e',
    ];
    const { stdout } = await runProgram('dnsperf', args);
    expect(stdout).toMatch(/Queries completed:\s+2000 \(100\.00%\)/);
    expect(stdout).toMatch(/NOERROR 1500 \(75\.00%\), NXDOMAIN 500 \(25\.00%\)/);
    await node.stop();
    await upstream.program.stop();
  });
});
