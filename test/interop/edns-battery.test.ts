import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dig } from '../support/dig.ts';
import { askRaw } from '../support/dns-client.ts';
import { composeQuery, parseAnswer } from '../support/dns-message.ts';
import { hasProgram } from '../support/programs.ts';
import { type RealUpstream, startBind } from '../support/real-upstreams.ts';
import { NodeSite, type TestNode } from '../support/test-node.ts';

const STRUCTURED_OPTION = 65_001;
const REFERENCE = 'TEST/2026/000001';

/** The checks of ISC's EDNS compliance tester, as dig arguments and what the answer must show. */
const BATTERY: [args: string, expected: { badVersion?: true; opt?: false; dnssecOk?: true }][] = [
  ['+noedns', { opt: false }],
  ['+edns=0', {}],
  ['+edns=0 +bufsize=512', {}],
  ['+edns=0 +bufsize=4096', {}],
  ['+ednsopt=100', {}],
  ['+ednsopt=100:0011', {}],
  ['+ednsflags=0x80', {}],
  ['+dnssec', { dnssecOk: true }],
  ['+dnssec +bufsize=512', { dnssecOk: true }],
  ['+dnssec +ednsflags=0x80 +ednsopt=100', { dnssecOk: true }],
  ['+edns=100 +noednsneg', { badVersion: true }],
  ['+edns=100 +noednsneg +ednsopt=100', { badVersion: true }],
  ['+edns=100 +noednsneg +ednsflags=0x80', { badVersion: true }],
  ['+edns=100 +noednsneg +dnssec +bufsize=512 +ednsopt=100 +ednsflags=0x80', { badVersion: true, dnssecOk: true }],
];

/** What a blocked name and a forwarded one are answered with. */
const NAMES = [
  { name: 'www.bad.example', type: 'A', status: 'NXDOMAIN' },
  { name: 'exact.example', type: 'HTTPS', status: 'NOERROR' },
  { name: 'www.real.test', type: 'A', status: 'NOERROR' },
  { name: 'none.real.test', type: 'TXT', status: 'NXDOMAIN' },
];

describe.skipIf(!hasProgram('dig') || !hasProgram('named'))('what dig makes of our EDNS', () => {
  let upstream: RealUpstream;
  let node: TestNode;
  let limited: TestNode;

  beforeAll(async () => {
    upstream = await startBind();
    const answer = { structuredErrorOption: STRUCTURED_OPTION, operator: 'Test ISP', language: 'ms' };
    const site = await NodeSite.prepare({ upstreams: [upstream], answer });
    site.register.notice('n', [{ subtree: 'bad.example' }, 'exact.example'], { reference: REFERENCE });
    node = await site.startHere();
    const slow = { register: site.register, upstreams: [upstream], resolver: { responsesPerSecond: 1 } };
    limited = await (await NodeSite.prepare(slow)).startHere();
  });

  afterAll(async () => {
    await Promise.all([node?.stop(), limited?.stop()]);
    await upstream?.program.stop();
  });

  const cases = BATTERY.flatMap(([args, expected]) =>
    ['', '+tcp'].flatMap((transport) => NAMES.map((asked) => ({ args: `${args} ${transport}`, expected, ...asked }))),
  );

  test.each(cases)('$name $type $args', async ({ name, type, args, expected, status }) => {
    const answer = await dig(node.server, name, [type, ...args.trim().split(' ')]);
    expect(answer.status, answer.output).toBe(expected.badVersion ? 'BADVERS' : status);
    expect(answer.flags).toEqual(expect.arrayContaining(['qr', 'rd', 'ra']));
    expect(answer.output).not.toMatch(/WARNING|malformed|OPT=100|extra bytes/);
    expect(answer.strayFlags).toBe(false);
    if (expected.opt === false) return expect(answer.edns).toBeUndefined();
    expect(answer.edns).toEqual({
      version: 0,
      flags: expected.dnssecOk ? ['do'] : [],
      udpBytes: expect.any(Number),
    });
    const blocked = !expected.badVersion && !name.endsWith('.real.test');
    expect(answer.ede).toBe(blocked ? `16 (Censored): (notice ${REFERENCE})` : undefined);
  });

  test('a structured error goes to the client that asks for one, and only there', async () => {
    const asked = await dig(node.server, 'bad.example', [`+ednsopt=${STRUCTURED_OPTION}`]);
    const json = /^16 \(Censored\): \((.*)\)$/.exec(asked.ede ?? '')?.[1];
    expect(JSON.parse(json ?? '')).toEqual({
      c: ['mailto:appeals@authority.example'],
      j: `Test authority: notice ${REFERENCE}`,
      o: 'Test ISP',
      l: 'ms',
    });
    expect(asked.output).not.toContain(`OPT=${STRUCTURED_OPTION}`);
    const withData = await dig(node.server, 'bad.example', [`+ednsopt=${STRUCTURED_OPTION}:00`]);
    expect(withData.ede).toBe(`16 (Censored): (notice ${REFERENCE})`);
  });

  test('blocked answers carry a server cookie that is taken back', async () => {
    const client = '0123456789abcdef';
    const first = await dig(node.server, 'bad.example', [`+cookie=${client}`]);
    expect(first.cookie).toEqual({ hex: expect.stringMatching(/^0123456789abcdef01[0-9a-f]{30}$/), judgement: 'good' });
    const second = await dig(node.server, 'bad.example', [`+cookie=${first.cookie!.hex}`]);
    expect([second.status, second.cookie?.judgement]).toEqual(['NXDOMAIN', 'good']);
    const wrongSize = await dig(node.server, 'bad.example', ['+cookie=0123456789ab']);
    expect(wrongSize.status).toBe('FORMERR');
  });

  test('a client without a cookie of ours is limited, one with it is not', async () => {
    const granted = (await dig(limited.server, 'bad.example', ['+ignore', '+cookie=0123456789abcdef'])).cookie!.hex;
    const forged = granted.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'));
    const countTruncated = async (cookie: string) => {
      const option = { code: 10, data: Buffer.from(cookie, 'hex') };
      const query = () => composeQuery('bad.example', { edns: { options: [option] } });
      const answers = await Promise.all(Array.from({ length: 20 }, () => askRaw(limited.server, query())));
      return answers.filter((answer) => parseAnswer(answer).tc).length;
    };
    // Two are the burst; a slow machine may earn a few more.
    expect(await countTruncated(forged)).toBeGreaterThan(5);
    expect(await countTruncated('0123456789abcdef')).toBeGreaterThan(5);
    expect(await countTruncated(granted)).toBe(0);
    const overTcp = await dig(limited.server, 'bad.example', ['+tcp']);
    expect(overTcp.status).toBe('NXDOMAIN');
  });
});
