import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, BrowserContextOptions } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { renderNotice, splitLanguageQuery } from '../../src/gateway/notice-page/notice-page.ts';
import { TEXTS } from '../../src/gateway/notice-page/page-text.ts';
import type { NoticeDetails } from '../../src/gateway/url-rules.ts';
import { LANGUAGE_NAMES, LANGUAGE_TAGS, LANGUAGES } from '../../src/pages/language.ts';
import {
  CHROMIUM,
  DESKTOP,
  findBarriers,
  launchBrowser,
  measureOverflow,
  PHONE,
  type Visit,
  visit as visitWith,
} from '../support/browser.ts';
import { BLOCKED_URL, LONGEST_NOTICE, NOTICE, NOW_SECONDS, SETTINGS } from './notice-page-samples.ts';

const HOSTILE = '"><script>alert(1)</script><img src=/x onerror=alert(1)></style></title>&{{operator}}$t(heading)';

/** The notices of the server, by path. `/page?id=5` alone is answered of all that have a query, as an exact rule would. */
const PAGES: Record<string, { notice: NoticeDetails; blockedName: string }> = {
  '/': { notice: NOTICE, blockedName: 'xn--fsqu00a.xn--0zwm56d' },
  '/page': { notice: NOTICE, blockedName: BLOCKED_URL },
  '/sealed': { notice: { ...NOTICE, sealed: true, category: 'csam', endSeconds: undefined }, blockedName: BLOCKED_URL },
  '/longest': { notice: LONGEST_NOTICE, blockedName: `http://${'b'.repeat(60)}.example/${'long-path-'.repeat(60)}` },
  '/hostile': {
    notice: {
      ...NOTICE,
      reference: HOSTILE,
      authority: HOSTILE,
      section: HOSTILE,
      category: HOSTILE,
      appealUrl: HOSTILE,
    },
    blockedName: HOSTILE,
  },
};

/** Serves the pages as the gateway does. `asked` collects what was asked for. */
function serve(asked: string[]): Server {
  return createServer((request, response) => {
    asked.push(request.url!);
    const { pathname, search } = new URL(request.url!, 'http://host');
    const { query, language } = splitLanguageQuery(search.slice(1));
    const page = PAGES[pathname];
    if (page === undefined || query !== (pathname === '/page' ? 'id=5' : '')) {
      response.writeHead(404).end();
      return;
    }
    const { accept, 'accept-language': acceptLanguage } = request.headers;
    const { notice, blockedName } = page;
    const options = { ...SETTINGS, nowSeconds: NOW_SECONDS, accept, acceptLanguage, language, query, blockedName };
    const { body, headers } = renderNotice(notice, options);
    response.writeHead(451, headers).end(body);
  });
}

describe.skipIf(CHROMIUM === undefined)('the notice page in Chromium', () => {
  const asked: string[] = [];
  const server = serve(asked);
  let browser: Browser;
  let origin: string;

  beforeAll(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    browser = await launchBrowser();
  });

  afterAll(async () => {
    await browser?.close();
    server.close();
  });

  beforeEach(() => {
    asked.length = 0;
  });

  /** Opens `path` in a browser of its own, runs `action`, and finds no fault with it. */
  async function visit(path: string, options: BrowserContextOptions, action: (visit: Visit) => Promise<void>) {
    const faults = await visitWith(browser, options, async (visit) => {
      const response = await visit.page.goto(`${origin}${path}`);
      expect(response!.status()).toBe(451);
      await action(visit);
    });
    expect(faults).toEqual([]);
  }

  const views = LANGUAGES.flatMap((language) =>
    [PHONE, DESKTOP].map((viewport) => ({ language, viewport, width: viewport.width })),
  );

  it.each(views)(
    'is whole and accessible, light and dark: $language, $width pixels',
    async ({ language, viewport }) => {
      await visit(`/?warta-lang=${language}`, { viewport, colorScheme: 'light' }, async ({ page }) => {
        expect(await page.getAttribute('html', 'lang')).toBe(LANGUAGE_TAGS[language]);
        expect(await page.textContent('h1')).toBe(TEXTS[language].heading);
        // A policy that refused the style sheet would leave these white and the page without either scheme.
        const colour = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
        expect(await colour()).toBe('rgb(244, 245, 247)');
        expect(await measureOverflow(page)).toBeLessThanOrEqual(0);
        expect(await findBarriers(page)).toEqual([]);
        await page.emulateMedia({ colorScheme: 'dark' });
        expect(await colour()).toBe('rgb(17, 22, 29)');
        expect(await findBarriers(page)).toEqual([]);
        expect(asked).toEqual([`/?warta-lang=${language}`]);
      });
    },
  );

  it.each(['/sealed', '/longest', '/hostile'])('is whole and accessible whatever the notice: %s', async (path) => {
    for (const language of LANGUAGES) {
      await visit(`${path}?warta-lang=${language}`, { viewport: { width: 320, height: 480 } }, async ({ page }) => {
        expect(await measureOverflow(page)).toBeLessThanOrEqual(0);
        expect(await findBarriers(page)).toEqual([]);
        expect(await page.locator('script, img, iframe, object, svg').count()).toBe(0);
        expect(await page.locator('main h2').count()).toBe(5);
      });
    }
    expect(asked).toHaveLength(LANGUAGES.length);
  });

  it.each([
    ['ms-MY', 'ms'],
    ['en-GB', 'en'],
    ['zh-TW', 'zh'],
    ['ta-IN', 'ta'],
    ['fr-FR', 'ms'],
  ] as const)('opens for a browser set to %s in %s', async (locale, language) => {
    await visit('/', { locale }, async ({ page }) => {
      expect(await page.getAttribute('html', 'lang')).toBe(LANGUAGE_TAGS[language]);
    });
  });

  it.each(['/', '/page?id=5'])('switches between all languages without JavaScript from %s', async (path) => {
    await visit(path, { javaScriptEnabled: false, locale: 'en-GB' }, async ({ page }) => {
      for (const language of ['ta', 'zh', 'ms', 'en'] as const) {
        await page.getByRole('link', { name: LANGUAGE_NAMES[language], exact: true }).click();
        await page.waitForURL(`${origin}${path}${path.includes('?') ? '&' : '?'}warta-lang=${language}`);
        expect(await page.getAttribute('html', 'lang')).toBe(LANGUAGE_TAGS[language]);
        expect(await page.textContent('h1')).toBe(TEXTS[language].heading);
        expect(await page.textContent('nav a[aria-current]')).toBe(LANGUAGE_NAMES[language]);
      }
    });
  });

  it('leads to the appeal form, telephone and mail', async () => {
    await visit('/', {}, async ({ page }) => {
      const links = await page.locator('main a').evaluateAll((all) => all.map((link) => link.getAttribute('href')));
      expect(links.slice(0, 3)).toEqual([NOTICE.appealUrl, ...NOTICE.contacts]);
    });
  });

  it('prints without the switch and with the addresses of links', async () => {
    await visit('/', { colorScheme: 'dark' }, async ({ page }) => {
      expect(await page.isVisible('nav')).toBe(true);
      await page.emulateMedia({ media: 'print' });
      expect(await page.isVisible('nav')).toBe(false);
      expect(await page.evaluate('getComputedStyle(document.querySelector(".form"), "::after").content')).toContain(
        NOTICE.appealUrl,
      );
      expect(await page.evaluate('getComputedStyle(document.body).color')).toBe('rgb(0, 0, 0)');
    });
  });

  it('refuses to load, run or style anything else', async () => {
    await visit('/', {}, async ({ page, faults }) => {
      await page.evaluate(`
        document.body.insertAdjacentHTML('beforeend', '<img src="/x.png"><p style="color: red" id="styled">x</p>');
        document.body.append(Object.assign(document.createElement('script'), { textContent: 'globalThis.ran = true' }));
      `);
      expect(await page.evaluate('globalThis.ran')).toBeUndefined();
      expect(await page.evaluate('getComputedStyle(document.querySelector("#styled")).color')).not.toBe(
        'rgb(255, 0, 0)',
      );
      expect(faults.filter((fault) => fault.includes('Content Security Policy')).length).toBeGreaterThanOrEqual(3);
      expect(asked).toEqual(['/']);
      faults.length = 0;
    });
  });
});
