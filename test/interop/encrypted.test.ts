import { request as requestHttps } from 'node:https';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { askRaw } from '../support/dns-client.ts';
import { composeQuery, parseAnswer, TYPE } from '../support/dns-message.ts';
import {
  type CertificateFixture,
  DNS_MESSAGE,
  type EncryptedNode,
  getPath,
  makeCertificate,
  openDoh,
  openDot,
  requestDoh,
  startEncryptedNode,
} from '../support/encrypted.ts';
import { hasProgram } from '../support/programs.ts';
import { composeReply, type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { waitUntil } from '../support/wait.ts';

const PADDING = 12;
const COOKIE = 10;
const STRUCTURED = 65_023;

/** Ways to send a message encrypted and get the answer's octets. */
type Send = (node: EncryptedNode, query: Buffer) => Promise<Buffer>;

const sendDot: Send = async ({ dotPort }, query) => {
  const client = await openDot(dotPort);
  client.send(query);
  const answer = await waitUntil('an answer over DoT', () => client.received[0]);
  client.close();
  return answer;
};

const sendGet: Send = async ({ dohPort }, query) => {
  const session = openDoh(dohPort);
  const { status, body } = await requestDoh(session, { ':path': getPath(query) });
  session.close();
  expect(status).toBe(200);
  return body;
};

const sendPost: Send = async ({ dohPort }, query) => {
  const session = openDoh(dohPort);
  const { status, body, headers } = await requestDoh(session, { 'content-type': DNS_MESSAGE }, query);
  session.close();
  expect([status, headers['content-type']]).toEqual([200, DNS_MESSAGE]);
  return body;
};

const sendHttp1 =
  (method: 'GET' | 'POST'): Send =>
  ({ dohPort }, query) =>
    new Promise((resolve, reject) => {
      const path = method === 'GET' ? getPath(query) : '/dns-query';
      const headers = method === 'GET' ? {} : { 'content-type': DNS_MESSAGE };
      const options = {
        host: '127.0.0.1',
        port: dohPort,
        path,
        method,
        headers,
        rejectUnauthorized: false,
        agent: false as const,
        ALPNProtocols: ['http/1.1'],
      };
      const request = requestHttps(options, (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => resolve(Buffer.concat(parts)));
        expect([response.statusCode, response.headers['content-type']]).toEqual([200, DNS_MESSAGE]);
      });
      request.on('error', reject);
      request.end(method === 'POST' ? query : undefined);
    });

const TRANSPORTS: [string, Send][] = [
  ['DoT', sendDot],
  ['DoH by GET over HTTP/2', sendGet],
  ['DoH by POST over HTTP/2', sendPost],
  ['DoH by GET over HTTP/1.1', sendHttp1('GET')],
  ['DoH by POST over HTTP/1.1', sendHttp1('POST')],
];

/** Takes the Padding option, which must be the last of the message, off an answer. */
function unpad(answer: Buffer): { bare: Buffer; paddingBytes: number } {
  for (let size = 0; size <= 468 && size + 4 <= answer.length; size++) {
    const at = answer.length - size - 4;
    if (answer.readUInt16BE(at) !== PADDING || answer.readUInt16BE(at + 2) !== size) continue;
    const bare = Buffer.from(answer.subarray(0, at));
    const opt = findOpt(bare);
    if (opt + 11 + bare.readUInt16BE(opt + 9) - 4 - size !== at) continue;
    expect(answer.subarray(at + 4).every((octet) => octet === 0)).toBe(true);
    bare.writeUInt16BE(bare.readUInt16BE(opt + 9) - 4 - size, opt + 9);
    return { bare, paddingBytes: size };
  }
  throw new Error('the answer is not padded');
}

/** Offset of the OPT record: a root owner, type 41, our UDP size. */
function findOpt(message: Buffer): number {
  return message.lastIndexOf(Buffer.from([0, 0, 41, 4, 208]));
}

describe.skipIf(!hasProgram('openssl'))('encrypted transports', () => {
  let certificate: CertificateFixture;
  let upstream: StubUpstream;
  let server: EncryptedNode;

  beforeAll(async () => {
    certificate = makeCertificate();
    // A name of `aged.*` has a long TTL, one of `gone.*` an error; `large.*` needs TCP.
    upstream = await startStubUpstream(
      (query) => {
        const reply = composeReply(query);
        if (query.includes('gone')) reply[3] = 0x83;
        if (query.includes('fail')) reply[3] = 0x82;
        return reply;
      },
      { keep: true },
    );
    server = await startEncryptedNode({
      upstreams: [upstream],
      certificate,
      answer: { structuredErrorOption: STRUCTURED, operator: 'Example ISP' },
    });
  });

  afterAll(async () => {
    await server?.node.stop();
    await upstream?.close();
  });

  const queries: [string, Buffer][] = [
    ['a blocked subtree', composeQuery('WwW.bad.example', { id: 7, edns: {} })],
    ['a blocked name with NODATA', composeQuery('exact.example', { id: 7, type: TYPE.HTTPS, edns: { flags: 0x8000 } })],
    ['a blocked name without EDNS', composeQuery('bad.example', { id: 7 })],
    ['a forwarded name', composeQuery('good.example', { id: 7, edns: {} })],
    ['a forwarded name without EDNS', composeQuery('good.example', { id: 7 })],
    ['another opcode', composeQuery('good.example', { id: 7, flags: 0x2000 })],
    ['an EDNS version of the future', composeQuery('good.example', { id: 7, edns: { version: 1 } })],
    ['structured errors', composeQuery('bad.example', { id: 7, edns: { options: [{ code: STRUCTURED }] } })],
    ['the zone of the resolver itself', composeQuery('_dns.resolver.arpa', { id: 7, type: TYPE.SVCB, edns: {} })],
  ];

  describe.each(TRANSPORTS)('%s', (_, send) => {
    test.each(queries)('%s is answered as over UDP, octet for octet', async (_name, query) => {
      const expected = await askRaw(server.node.server, query);
      expect((await send(server, query)).toString('hex')).toBe(expected.toString('hex'));
    });

    test.each([
      ['bad.example', []],
      ['exact.example', [{ code: COOKIE, data: Buffer.from('0102030405060708').subarray(0, 8) }]],
      ['good.example', []],
      ['good.example', [{ code: COOKIE, data: Buffer.alloc(8, 3) }]],
    ])('%s: the answer to a padded query is padded to 468 octets', async (name, options) => {
      const padding = { code: PADDING, data: Buffer.alloc(33) };
      const answer = await send(server, composeQuery(name, { id: 7, edns: { options: [...options, padding] } }));
      expect(answer.length).toBe(468);
      expect(parseAnswer(answer).opt).toBeDefined();
      if (options.length > 0) return;
      const plain = await askRaw(server.node.server, composeQuery(name, { id: 7, edns: {} }));
      expect(unpad(answer).bare.toString('hex')).toBe(plain.toString('hex'));
    });

    test('a structured error is the same JSON', async () => {
      const query = composeQuery('bad.example', { edns: { options: [{ code: STRUCTURED }] } });
      const { ede } = parseAnswer(await send(server, query));
      expect(ede?.code).toBe(16);
      expect(JSON.parse(ede!.text)).toMatchObject({ o: 'Example ISP', l: 'en', c: expect.any(Array) });
      expect(ede!.text).toBe(JSON.stringify(JSON.parse(ede!.text)));
    });
  });

  test('no padding leaves over UDP, and none of it reaches the upstream', async () => {
    const padded = composeQuery('padded.example', { edns: { options: [{ code: PADDING, data: Buffer.alloc(200) }] } });
    expect((await askRaw(server.node.server, padded)).length).toBeLessThan(200);
    await sendDot(server, padded);
    const seen = upstream.received.filter((query) => query.includes('padded'));
    expect(seen.length).toBe(2);
    for (const query of seen) expect(query.length).toBe(padded.length - 204);
  });

  test('queries of one connection are pipelined and answered in any order', async () => {
    const client = await openDot(server.dotPort);
    const names = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? `a${i}.bad.example` : `a${i}.example`));
    client.send(...names.map((name, id) => composeQuery(name, { id })));
    const answers = await waitUntil('all answers', () => client.received.length === 100 && client.received);
    const rcodes = new Map(answers.map(parseAnswer).map(({ id, rcode }) => [id, rcode]));
    expect(names.map((_name, id) => rcodes.get(id))).toEqual(
      names.map((_name, id) => (id % 2 === 0 ? 'NXDOMAIN' : 'NOERROR')),
    );
    client.close();
  });

  test.each([
    ['bad.example', 'max-age=60'],
    ['good.example', 'max-age=60'],
    ['fail.example', 'no-store'],
    ['gone.example', 'max-age=60'],
  ])('what a cache may do with the answer for %s is %s', async (name, expected) => {
    const session = openDoh(server.dohPort);
    const { headers } = await requestDoh(session, { ':path': getPath(composeQuery(name, { edns: {} })) });
    session.close();
    expect(headers['cache-control']).toBe(expected);
  });

  test('queries are counted by transport', async () => {
    const before = await server.site.readMetric('warta_queries_total{transport="dot",outcome="blocked"}');
    await sendDot(server, composeQuery('bad.example'));
    await sendGet(server, composeQuery('bad.example'));
    expect(await server.site.readMetric('warta_queries_total{transport="dot",outcome="blocked"}')).toBe(before + 1);
    expect(await server.site.readMetric('warta_queries_total{transport="doh",outcome="blocked"}')).toBeGreaterThan(0);
    expect(await server.site.readMetric('warta_tls_handshakes_total{transport="doh",session="new"}')).toBeGreaterThan(
      0,
    );
    expect(await server.site.readMetric('warta_doh_responses_total{status="200"}')).toBeGreaterThan(0);
    await server.site.waitForMetric('warta_doh_streams', 0);
    const seconds = await server.site.readMetric('warta_tls_certificate_expires_seconds');
    expect(seconds / 86_400).toBeGreaterThan(28);
    expect(seconds / 86_400).toBeLessThan(31);
  });

  test('nothing is logged of queries and their clients', async () => {
    const lines = server.node.log.length;
    for (const [, send] of TRANSPORTS) await send(server, composeQuery('bad.example'));
    expect(server.node.log.length).toBe(lines);
  });
});
