import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatInstant } from '../../src/register/time.ts';
import { STEERING_DELAY_SECONDS } from '../../src/rules/layout.ts';
import type { DigAnswer } from '../support/dig.ts';
import { waitUntil } from '../support/wait.ts';
import {
  ADDRESS,
  begunEarlier,
  findLaboratoryFault,
  Laboratory,
  OPERATOR,
  RESOLVER_NAME,
  STRUCTURED_OPTION,
  titleOf,
} from './laboratory.ts';

const fault = findLaboratoryFault();
const [CLIENT] = ADDRESS.client;
const [GATEWAY, GATEWAY_6] = ADDRESS.gateway;
const [ORIGIN, ORIGIN_6] = ADDRESS.origin;
const MAX_TTL_SECONDS = 60;
/** Makes curl ask the gateway whatever the resolver says, as a browser does that has an old answer. */
const AT_GATEWAY = ['--connect-to', `::${GATEWAY}:80`];
/** A new notice steers nobody at first, and not for so long in any case. */
const STEERED_MILLIS = (STEERING_DELAY_SECONDS + 20) * 1000;

const nowSeconds = () => Math.floor(Date.now() / 1000);

/** The records of a section as dig prints them: owner, TTL, type and data. */
function recordsOf({ output }: DigAnswer, section: 'ANSWER' | 'AUTHORITY') {
  const [, lines = ''] = new RegExp(`;; ${section} SECTION:\n([^;]*)`).exec(output) ?? [];
  return [...lines.matchAll(/^(\S+)\s+(\d+)\s+IN\s+(\S+)\s+(.*)$/gm)].map(([, owner, ttl, type, data]) => {
    return { owner: owner!, ttl: Number(ttl), type: type!, data: data! };
  });
}

const dataOf = (answer: DigAnswer) => recordsOf(answer, 'ANSWER').map(({ data }) => data);

describe.skipIf(fault !== undefined)(titleOf('from host to host by the resolver', fault), () => {
  let laboratory: Laboratory;
  /** A notice that is signed only just before the nodes start. */
  let fresh: string;
  let freshAtSeconds: number;

  beforeAll(async () => {
    laboratory = await Laboratory.open((register) => {
      const pages = [{ url: 'http://news.example/listed?id=1' }, { url: 'http://news.example/any', query: 'any' }];
      register.notice('pages', pages, { ...begunEarlier(), reference: 'TEST/PAGES' });
      const redirects = [{ subtree: 'scam.example', action: 'redirect', exclude: ['help.scam.example'] }];
      register.notice('redirect', redirects, { reference: 'TEST/REDIRECT' });
      register.notice('blocked', [{ subtree: 'gone.example' }], { reference: 'TEST/GONE' });
      freshAtSeconds = nowSeconds();
      fresh = register.notice('fresh', [{ url: 'http://other.example/listed' }], { reference: 'TEST/FRESH' }).id;
    });
    await laboratory.waitForAddress('news.example', 'gateway');
  });

  afterAll(() => laboratory?.close());

  test('the gateway knows of a new notice before anybody is sent there', async () => {
    expect((await laboratory.fetch('http://other.example/listed', ...AT_GATEWAY)).status).toBe(451);
    expect(dataOf(await laboratory.dig('other.example'))).toEqual([ORIGIN]);
  });

  describe('a host with listed pages', () => {
    test.each([
      ['A', GATEWAY, '+notcp'],
      ['AAAA', GATEWAY_6, '+notcp'],
      ['A', GATEWAY, '+tcp'],
      ['A', GATEWAY, '+dnssec'],
      ['AAAA', GATEWAY_6, '+dnssec'],
    ])('has for %s the address of the gateway, and says by which notice (%s %s)', async (type, address, how) => {
      const answer = await laboratory.dig('nEws.example', type, how);
      expect(answer.status).toBe('NOERROR');
      expect(recordsOf(answer, 'ANSWER')).toEqual([
        { owner: 'nEws.example.', ttl: expect.any(Number), type, data: address },
      ]);
      expect(recordsOf(answer, 'ANSWER')[0]!.ttl).toBeLessThanOrEqual(MAX_TTL_SECONDS);
      expect(answer.ede).toMatch(/^4 \(Forged Answer\): .*TEST\/PAGES/);
      expect(answer.flags).not.toContain('aa');
    });

    test('has no HTTPS and no SVCB record, which would lead past the gateway', async () => {
      for (const type of ['HTTPS', 'SVCB']) {
        const answer = await laboratory.dig('news.example', type);
        expect([answer.status, dataOf(answer)]).toEqual(['NOERROR', []]);
        expect(recordsOf(answer, 'AUTHORITY')).toMatchObject([{ owner: 'news.example.', type: 'SOA' }]);
      }
    });

    test('keeps its mail and its texts', async () => {
      const [mail, text] = [await laboratory.dig('news.example', 'MX'), await laboratory.dig('news.example', 'TXT')];
      expect([dataOf(mail), dataOf(text)]).toEqual([['10 mail.news.example.'], ['"text of news.example"']]);
      expect([mail.ede, text.ede]).toEqual([undefined, undefined]);
    });

    test('is by the same address over DoT and DoH', async () => {
      const plain = await laboratory.dig('news.example');
      const strict = [`+tls-ca=${laboratory.certificate}`, `+tls-hostname=${RESOLVER_NAME}`];
      const ways = [['+tls'], ['+https'], ['+https', '+https-get']];
      for (const address of ADDRESS.resolver) {
        for (const way of ways) {
          const args = [`@${address}`, ...way, ...strict, '+edns', 'news.example', 'A'];
          const { stdout } = await laboratory.run('client', 'kdig', args);
          expect(stdout).toMatch(way[0] === '+tls' ? /TLS session \(TLS1\.3\)/ : /HTTP session/);
          expect(stdout).toMatch(new RegExp(`^news\\.example\\.\\s+\\d+\\s+IN\\s+A\\s+${GATEWAY}$`, 'm'));
          const [, code, text] = /EDE: (\d+) \([^)]*\): '([^']*)'/.exec(stdout) ?? [];
          expect(plain.ede).toContain(`${code} (Forged Answer): (${text})`);
        }
      }
    });

    test('is blocked by page for a browser that resolves over HTTPS', async () => {
      const doh = [
        '--doh-url',
        `https://${RESOLVER_NAME}/dns-query`,
        '--resolve',
        `${RESOLVER_NAME}:443:${ADDRESS.resolver[0]}`,
      ];
      const { status, body } = await laboratory.fetch('http://news.example/listed?id=1', ...doh);
      expect([status, body]).toEqual([451, expect.stringContaining('TEST/PAGES')]);
      expect((await laboratory.fetch('http://news.example/where', ...doh)).status).toBe(200);
    });
  });

  describe('a host that is sent to the notice page', () => {
    test.each([
      ['scam.example', 'A', GATEWAY],
      ['login.scam.example', 'A', GATEWAY],
      ['login.scam.example', 'AAAA', GATEWAY_6],
    ])('%s %s', async (name, type, address) => {
      const answer = await laboratory.dig(name, type);
      expect([answer.status, dataOf(answer)]).toEqual(['NOERROR', [address]]);
      expect(answer.ede).toMatch(/^4 \(Forged Answer\): .*TEST\/REDIRECT/);
    });

    test('has nothing else', async () => {
      for (const type of ['HTTPS', 'SVCB', 'MX', 'TXT']) {
        const answer = await laboratory.dig('login.scam.example', type);
        expect([answer.status, dataOf(answer)]).toEqual(['NOERROR', []]);
        expect(recordsOf(answer, 'AUTHORITY')).toMatchObject([{ type: 'SOA' }]);
        expect(answer.ede).toMatch(/^16 \(Censored\): .*TEST\/REDIRECT/);
      }
    });

    test('is refused with the facts where the client can show them', async () => {
      for (const type of ['A', 'AAAA', 'HTTPS']) {
        const answer = await laboratory.dig('login.scam.example', type, `+ednsopt=${STRUCTURED_OPTION}`);
        expect(dataOf(answer)).toEqual([]);
        const [, json = '{}'] = /^16 \(Censored\): \((.*)\)$/.exec(answer.ede ?? '') ?? [];
        expect(JSON.parse(json.replaceAll('\\"', '"'))).toMatchObject({
          j: expect.stringContaining('TEST/REDIRECT'),
          o: OPERATOR,
          c: ['mailto:appeals@authority.example'],
        });
      }
    });

    test.each(['/', '/any/page?of=it'])('shows the notice page at %s', async (target) => {
      for (const family of ['-4', '-6']) {
        const { stdout } = await laboratory.curl('-D', '-', family, `http://login.scam.example${target}`);
        expect(stdout).toMatch(/^HTTP\/1\.1 451 [\s\S]*^Link: <[^>]*>; *rel="blocked-by"/im);
        expect(stdout).toContain('TEST/REDIRECT');
        expect(stdout).toMatch(/>scam\.example</);
        expect(stdout).toContain(OPERATOR);
      }
    });

    test('is closed over HTTPS', async () => {
      const { code, stderr } = await laboratory.curl('https://login.scam.example/');
      expect([code, stderr]).toEqual([35, expect.stringMatching(/alert access denied/i)]);
    });

    test('has an exclusion, which is reached without the gateway', async () => {
      const answer = await laboratory.dig('help.scam.example', 'A');
      expect([dataOf(answer), answer.ede]).toEqual([[ORIGIN], undefined]);
      const { body } = await laboratory.fetch('http://help.scam.example/where', '-4');
      expect(body).toContain(`help.scam.example http 80 ${CLIENT} `);
      expect((await laboratory.fetch('https://help.scam.example/where')).status).toBe(200);
    });
  });

  test('a plain block is no redirect', async () => {
    const answer = await laboratory.dig('www.gone.example');
    expect([answer.status, answer.ede]).toEqual(['NXDOMAIN', expect.stringMatching(/^16 \(Censored\): .*TEST\/GONE/)]);
  });

  test('a host without rules is as it was', async () => {
    for (const [name, type, data] of [
      ['free.example', 'A', [ORIGIN]],
      ['free.example', 'AAAA', [ORIGIN_6]],
      ['free.example', 'HTTPS', ['1 . alpn="h2"']],
      ['sub.news.example', 'A', []],
    ] as const) {
      const answer = await laboratory.dig(name, type);
      expect([dataOf(answer), answer.ede]).toEqual([data, undefined]);
    }
    expect((await laboratory.fetch('http://free.example/where', '-4')).body).toContain(` ${CLIENT} `);
  });

  describe('without a gateway', () => {
    /** The host as everyone sees it; what is blocked by its name stays so. */
    async function expectNoSteering(): Promise<void> {
      await laboratory.waitForAddress('news.example', 'origin');
      const { body } = await laboratory.fetch('http://news.example/where', '-4');
      expect(body).toContain(`news.example http 80 ${CLIENT} `);
      expect((await laboratory.fetch('http://news.example/listed?id=1')).body).toContain('the listed page');
      expect(dataOf(await laboratory.dig('news.example', 'HTTPS'))).toEqual(['1 . alpn="h2"']);
      const answer = await laboratory.dig('scam.example');
      expect([dataOf(answer), answer.ede]).toEqual([[], expect.stringMatching(/^16 \(Censored\): .*TEST\/REDIRECT/)]);
      expect((await laboratory.dig('gone.example')).status).toBe('NXDOMAIN');
    }

    async function expectSteering(): Promise<void> {
      await laboratory.waitForAddress('news.example', 'gateway');
      expect((await laboratory.fetch('http://news.example/listed?id=1')).status).toBe(451);
      expect((await laboratory.fetch('http://scam.example/')).status).toBe(451);
    }

    test('that was killed, hosts are reached directly, until it is back', async () => {
      laboratory.gateway.kill('SIGKILL');
      await laboratory.gateway.ended;
      await expectNoSteering();
      await laboratory.startGateway();
      await expectSteering();
    });

    test('that cannot be reached, too', async () => {
      laboratory.network.unplug('gateway');
      await expectNoSteering();
      laboratory.network.plug('gateway');
      await expectSteering();
    });
  });

  test('a notice ends by the clock, without anything signed', async () => {
    const endsAt = nowSeconds() + 8;
    const brief = { ...begunEarlier(), reference: 'TEST/BRIEF', term: { expires: formatInstant(endsAt) } };
    const listed = 'http://shop.example/listed';
    laboratory.register.notice('brief', [{ url: listed }], brief);
    await laboratory.waitForAddress('shop.example', 'gateway');
    await waitUntil('it is blocked', async () => (await laboratory.fetch(listed)).status === 451);
    const [{ ttl } = { ttl: Number.NaN }] = recordsOf(await laboratory.dig('shop.example'), 'ANSWER');
    expect(ttl).toBeLessThanOrEqual(endsAt - nowSeconds() + 1);
    await laboratory.waitForAddress('shop.example', 'origin');
    expect(Date.now() / 1000).toBeGreaterThanOrEqual(endsAt);
    await waitUntil('it is passed on', async () => (await laboratory.fetch(listed, ...AT_GATEWAY)).status === 200);
  });

  describe('a new notice', () => {
    const listed = 'http://other.example/listed';
    test('sends people to the gateway a while after the gateway knew', async () => {
      await laboratory.waitForAddress('other.example', 'gateway', STEERED_MILLIS);
      expect(nowSeconds() - freshAtSeconds).toBeGreaterThanOrEqual(STEERING_DELAY_SECONDS);
      expect((await laboratory.fetch(listed)).status).toBe(451);
    });

    test('ends with its revocation: the page is reached, by the old address too', async () => {
      laboratory.register.publish('revocation', { type: 'revocation', notice: fresh, from: 'now' });
      await laboratory.waitForAddress('other.example', 'origin');
      expect((await laboratory.fetch(listed)).body).toContain('the listed page');
      await waitUntil('it is passed on', async () => (await laboratory.fetch(listed, ...AT_GATEWAY)).status === 200);
      expect(await laboratory.fetch('http://other.example/where', ...AT_GATEWAY)).toMatchObject({ status: 200 });
    });
  });
});
