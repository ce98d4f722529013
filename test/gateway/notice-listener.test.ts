import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Gateway } from '../../src/gateway/gateway.ts';
import { NoticeAnswers } from '../../src/gateway/notice-answer.ts';
import { createNoticeRenderer } from '../../src/gateway/notice-page/notice-renderer.ts';
import type { PageSettings } from '../../src/gateway/notice-page/page-settings.ts';
import type { NoticeDetails } from '../../src/gateway/url-rules.ts';
import { registerGatewayMetrics } from '../../src/metrics/gateway-metrics.ts';
import { LANGUAGE_TAGS, LANGUAGES } from '../../src/pages/language.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { exchange, HOST, startGateway } from './fixture.ts';
import { createUrlRules, type UrlEntry } from './naive-rules.ts';
import { LONGEST_NOTICE, NOTICE, NOW_SECONDS, SETTINGS } from './notice-page-samples.ts';

/** The origin: it says which target it was asked for. */
let origin: Server;
let originPort: number;

beforeAll(async () => {
  origin = createServer((request, response) => response.end(`origin ${request.url}`));
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
  originPort = (origin.address() as AddressInfo).port;
});

afterAll(() => {
  origin.closeAllConnections();
  origin.close();
});

const page = (target: string, more: Partial<Extract<UrlEntry, { url: string }>> = {}): UrlEntry => {
  return { url: `http://${HOST}${target}`, notice: NOTICE, fromSeconds: 0, ...more };
};

/** Starts a gateway whose pages are those of the notice page, and whose time is the clock's. */
function startWithPages(entries: readonly UrlEntry[], clock: FakeClock, settings: PageSettings = SETTINGS) {
  const renderNotice = createNoticeRenderer(settings, () => clock.wallMillis() / 1000);
  return startGateway({ originPort, entries, clock, renderNotice });
}

interface Ask {
  readonly host?: string;
  readonly method?: string;
  readonly accept?: string;
  readonly language?: string;
}

interface Answer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
  readonly sizeBytes: number;
}

async function ask(gateway: Gateway, target: string, more: Ask = {}): Promise<Answer> {
  const { host = HOST, method = 'GET', accept = 'text/html', language = 'en' } = more;
  const fields = `Host: ${host}\r\nConnection: close\r\nAccept: ${accept}\r\nAccept-Language: ${language}\r\n`;
  const answer = await exchange(gateway.httpPort, `${method} ${target} HTTP/1.1\r\n${fields}\r\n`);
  const end = answer.indexOf('\r\n\r\n') + 4;
  const body = Buffer.from(answer.slice(end), 'latin1').toString();
  return { status: Number(answer.slice(9, 12)), head: answer.slice(0, end), body, sizeBytes: answer.length };
}

/** Where the links of the switch lead from a target, as a browser resolves them. */
function switchOf(answer: Answer, target: string): string[] {
  return [...answer.body.matchAll(/<a href="(\?[^"]*)" lang=/g)].map((match) => {
    const url = new URL(match[1]!.replaceAll('&amp;', '&'), `http://${HOST}${target}`);
    return url.pathname + url.search;
  });
}

describe('the switch of languages', () => {
  let gateway: Gateway;

  beforeAll(async () => {
    gateway = await startWithPages(
      [
        page('/plain'),
        page('/exact?id=5&t=a%20b'),
        page('/any', { query: 'any' }),
        page('/own?x=1&warta-lang=ta'),
        page('/own-alone?warta-lang=ms'),
        page('/lang?lang=ms'),
        { host: 'redirected.example', subtree: true, notice: NOTICE, fromSeconds: 0 },
      ],
      new FakeClock(NOW_SECONDS),
    );
  });

  it.each([
    ['/plain', HOST],
    ['/exact?id=5&t=a%20b', HOST],
    ['/ex%61ct?id=5&t=%61%20b', HOST],
    ['/any', HOST],
    ['/any?whatever&lang=zh', HOST],
    ['/own?x=1&warta-lang=ta', HOST],
    ['/own-alone?warta-lang=ms', HOST],
    ['/lang?lang=ms', HOST],
    ['/', 'redirected.example'],
    ['/a/b?c=d', 'www.redirected.example'],
  ])('leads from %s of %s to every language, and from each to every other', async (target, host) => {
    const first = await ask(gateway, target, { host });
    expect(first.status).toBe(451);
    const links = switchOf(first, target);
    expect(links).toHaveLength(LANGUAGES.length);
    for (const [index, link] of links.entries()) {
      const switched = await ask(gateway, link, { host });
      expect(switched.status, link).toBe(451);
      expect(switched.head).toContain(`\r\nContent-Language: ${LANGUAGE_TAGS[LANGUAGES[index]!]}\r\n`);
      // The links do not grow from page to page.
      expect(switchOf(switched, link)).toEqual(links);
    }
  });

  it('follows Accept-Language on a listed page whose own query ends in another parameter for a language', async () => {
    const { head } = await ask(gateway, '/lang?lang=ms', { language: 'ta' });
    expect(head).toContain('\r\nContent-Language: ta\r\n');
  });

  it.each([
    '/plain?lang=ms',
    '/lang',
    '/lang?lang=en',
    '/lang?lang=ms&x',
    '/plain?x=1&warta-lang=ms',
    '/exact?id=6&t=a%20b&warta-lang=ms',
    '/exact?warta-lang=ms',
    '/own?x=1',
    '/own-alone',
    '/other?lang=ms',
    '/other?lang=ms&lang=en',
    '/other?warta-lang=ms',
    '/plain?warta-lang=ms&warta-lang=ms&x',
    '/plain?warta-lang=MS',
  ])('disturbs nothing that is not listed: %s', async (target) => {
    expect(await ask(gateway, target)).toMatchObject({
      status: 200,
      body: expect.stringContaining(`origin ${target}`),
    });
  });
});

describe('a page that is kept', () => {
  it('is made anew when it begins to read otherwise, and no cache keeps it for longer', async () => {
    const clock = new FakeClock(NOW_SECONDS);
    const endSeconds = NOW_SECONDS + 3 * 86_400 + 100;
    const gateway = await startWithPages([page('/x', { notice: { ...NOTICE, endSeconds }, endSeconds })], clock);
    const maxAge = ({ head }: Answer) => Number(/\r\nCache-Control: max-age=(\d+)\r\n/.exec(head)![1]);
    const first = await ask(gateway, '/x');
    expect(first.body).toContain('in 3 days');
    expect(maxAge(first)).toBe(101);
    clock.pass(100_000);
    gateway.clock.read();
    const second = await ask(gateway, '/x');
    expect(second.body).toContain('in 3 days');
    expect(maxAge(second)).toBe(1);
    clock.pass(1_000);
    gateway.clock.read();
    const third = await ask(gateway, '/x');
    expect(third.body).toContain('in 2 days');
    expect(maxAge(third)).toBe(300);
    clock.pass((3 * 86_400 - 1) * 1000);
    gateway.clock.read();
    expect((await ask(gateway, '/x')).status).toBe(200);
  });

  it('does not outlive its rule, however long it is fresh', async () => {
    const clock = new FakeClock(NOW_SECONDS);
    const notice: NoticeDetails = { ...NOTICE, endSeconds: undefined, reviewBySeconds: undefined };
    const gateway = await startWithPages([page('/x', { notice })], clock);
    expect((await ask(gateway, '/x')).status).toBe(451);
    gateway.setRules(createUrlRules([page('/y', { notice })]));
    expect(await ask(gateway, '/x')).toMatchObject({ status: 200 });
    expect((await ask(gateway, '/y')).body).toContain(`http://${HOST}/y`);
  });
});

describe('pages that are kept', () => {
  it('take no more memory when what they were asked for by is long', () => {
    let rendered = 0;
    const render = () => {
      rendered += 1;
      return { html: 'page', contentType: 'text/plain', language: 'en' };
    };
    const answers = new NoticeAnswers(render, 'https://operator.example/');
    const hit = { notice: NOTICE, usesQuery: false, blocked: 'bad.example', endSeconds: Number.POSITIVE_INFINITY };
    const compose = (index: number) =>
      answers.compose(hit, { acceptLanguage: `${index}`.padEnd(15_000, 'x'), accept: undefined }, NOW_SECONDS);
    // Fifteen thousand characters each: 60 MB, were all of them kept.
    for (let index = 0; index < 4_000; index++) compose(index);
    expect(rendered).toBe(4_000);
    compose(3_999);
    expect(rendered).toBe(4_000);
    compose(0);
    expect(rendered).toBe(4_001);
  });
});

describe('the answer to HEAD', () => {
  it.each(['text/html', 'text/plain', 'application/json'])(
    'has the fields of GET for %s, and no body',
    async (accept) => {
      const gateway = await startWithPages([page('/x')], new FakeClock(NOW_SECONDS));
      const [head, get] = [await ask(gateway, '/x', { method: 'HEAD', accept }), await ask(gateway, '/x', { accept })];
      const withoutDate = (text: string) => text.replace(/\r\nDate: [^\r]*/, '');
      expect(withoutDate(head.head)).toBe(withoutDate(get.head));
      expect(head.body).toBe('');
      expect(Number(/\r\nContent-Length: (\d+)\r\n/.exec(head.head)![1])).toBe(Buffer.byteLength(get.body));
    },
  );
});

describe('a page with its headers', () => {
  /** Nothing is longer in HTML than a quote. */
  const quotes = (count: number) => '"'.repeat(count);
  const worst: NoticeDetails = {
    ...LONGEST_NOTICE,
    authority: quotes(200),
    instrument: quotes(402),
    section: quotes(200),
    contacts: Array.from({ length: 8 }, () => `mailto:${"a'".repeat(60)}@b.example`),
    appealUrl: `https://a.example/?${'&'.repeat(480)}&notice=${'0'.repeat(120)}`,
  };
  const helpOf = (title: string, url: string) =>
    Object.fromEntries(LANGUAGES.map((language) => [language, Array.from({ length: 32 }, () => ({ title, url }))]));
  const query = 'x=%22&'.repeat(64);

  it.each([
    ['texts of ordinary length', NOTICE, helpOf('Help'.repeat(10), 'https://help.example/')],
    ['the longest texts', LONGEST_NOTICE, helpOf('உதவி&'.repeat(40), `https://help.example/?${'a=1&'.repeat(115)}`)],
    ['the worst texts', worst, helpOf(quotes(200), `https://help.example/?${'&'.repeat(470)}`)],
  ])('stays below 30 kB with %s and 32 help links', async (_what, notice, help) => {
    const categoryTitles = { [notice.category]: Object.fromEntries(LANGUAGES.map((one) => [one, quotes(200)])) };
    const settings = { help, operator: quotes(100), categoryTitles };
    const long = `/${'&'.repeat(2_000)}`;
    const entries = [page(`${long}?${query}`, { notice }), page('/short', { notice })];
    const gateway = await startWithPages(entries, new FakeClock(NOW_SECONDS), settings);
    for (const language of LANGUAGES) {
      for (const accept of ['text/html', 'text/plain', 'application/json']) {
        for (const target of [`${long}?${query}`, '/short']) {
          const answer = await ask(gateway, target, { language, accept });
          expect(answer.status).toBe(451);
          expect(answer.head).toContain(`\r\nContent-Language: ${LANGUAGE_TAGS[language]}\r\n`);
          expect(answer.sizeBytes, `${language} ${accept}`).toBeLessThan(30_000);
        }
      }
    }
  });

  it('shows all help links where there is room, and the first ones where there is not', async () => {
    const some = await startWithPages([page('/x')], new FakeClock(NOW_SECONDS), {
      ...SETTINGS,
      help: helpOf('Help', 'https://h.example/'),
    });
    expect((await ask(some, '/x')).body.match(/https:\/\/h\.example\//g)).toHaveLength(32);
    const many = helpOf('x'.repeat(200), `https://h.example/${'y'.repeat(480)}`);
    const full = await startWithPages([page('/x')], new FakeClock(NOW_SECONDS), { ...SETTINGS, help: many });
    const shown = (await ask(full, '/x')).body.match(/https:\/\/h\.example\//g)!.length;
    expect(shown).toBeGreaterThan(15);
    expect(shown).toBeLessThan(32);
  });
});

describe('a sealed notice', () => {
  it('shows the address nowhere: not in the body, the fields, the metrics or what is written out', async () => {
    const written: unknown[] = [];
    const spies = (['stdout', 'stderr'] as const).map((stream) =>
      vi.spyOn(process[stream], 'write').mockImplementation((text) => written.push(text) > 0),
    );
    const notice = { ...NOTICE, sealed: true };
    const host = 'hidden-name.example';
    const gateway = await startWithPages(
      [
        { url: `http://${host}/secret-path?secret-query=7`, notice, fromSeconds: 0 },
        { url: `http://${host}/secret-any`, query: 'any', notice, fromSeconds: 0 },
        { host: 'hidden-whole.example', subtree: true, notice, fromSeconds: 0 },
      ],
      new FakeClock(NOW_SECONDS),
    );
    const registry = new Registry();
    registerGatewayMetrics(registry, gateway.readings);
    const asked: [string, string][] = [
      [host, '/secret-path?secret-query=7'],
      [host, '/secret-path?secret-query=7&warta-lang=ta'],
      [host, '/secret-any?secret-word'],
      [host, '/secret-any?warta-lang=zh'],
      ['sub.hidden-whole.example', '/secret-path'],
    ];
    for (const [name, target] of asked) {
      for (const accept of ['text/html', 'text/plain', 'application/json']) {
        for (const language of LANGUAGES) {
          const { status, head, body } = await ask(gateway, target, { host: name, accept, language });
          expect(status).toBe(451);
          expect(head + body).not.toMatch(/hidden|secret/i);
          expect(body).toContain(NOTICE.reference);
        }
      }
    }
    for (const spy of spies) spy.mockRestore();
    expect(written.join('')).not.toMatch(/hidden|secret/i);
    expect(await registry.metrics()).not.toMatch(/hidden|secret/i);
  });
});
