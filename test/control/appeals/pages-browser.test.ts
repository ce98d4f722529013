import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEXTS } from '../../../src/control/appeals/pages/page-text.ts';
import { LANGUAGE_NAMES, LANGUAGE_TAGS, LANGUAGES, type Language } from '../../../src/pages/language.ts';
import {
  CHROMIUM,
  DESKTOP,
  findBarriers,
  launchBrowser,
  measureOverflow,
  PHONE,
  type Visit,
  visit as visitPage,
} from '../../support/browser.ts';
import { AppealsRig } from './appeals-rig.ts';

const HOSTILE = `"><script>alert(1)</script><img src=/x onerror=alert(1)></textarea></style></title>&lt;{{time}}$t(filed)'`;

describe.skipIf(CHROMIUM === undefined)('the appeal pages in Chromium', () => {
  let rig: AppealsRig;
  let browser: Browser;
  let origin: string;

  beforeAll(async () => {
    rig = await AppealsRig.create();
    await rig.notice(['a.example', { subtree: 'wide.example' }], { reference: 'MCMC/2026/0001' });
    await rig.notice(['secret.example'], { reference: 'SEALED/1', category: 'csam', sealed: true });
    origin = await rig.app.listen({ host: '127.0.0.1', port: 0 });
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    await rig.close();
  });

  /** Every visitor comes from an address of her own, as limits go by addresses. */
  let visitors = 0;
  const visit = (options: BrowserContextOptions, action: (visit: Visit) => Promise<void>) => {
    const extraHTTPHeaders = { 'x-forwarded-for': `192.0.2.${++visitors}` };
    return visitPage(browser, { ...options, extraHTTPHeaders }, action);
  };

  /** Every page is whole, in its language, no wider than the window and without barriers. */
  async function inspectPage(page: Page, language: Language): Promise<void> {
    expect(await page.getAttribute('html', 'lang')).toBe(LANGUAGE_TAGS[language]);
    // A policy that refused the style sheet would leave these white or black.
    expect(['rgb(244, 245, 247)', 'rgb(17, 22, 29)']).toContain(
      await page.evaluate('getComputedStyle(document.body).backgroundColor'),
    );
    expect(await measureOverflow(page)).toBeLessThanOrEqual(0);
    expect(await findBarriers(page)).toEqual([]);
    expect(await page.locator('script, img, iframe, object, svg').count()).toBe(0);
    expect(await page.textContent('body')).not.toMatch(/\{\{(?!time)|undefined|\[object/);
  }

  const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click();

  it.each([
    ...LANGUAGES.map((language) => ({ language, javaScriptEnabled: true })),
    { language: 'ms' as const, javaScriptEnabled: false },
  ])('take an appeal from its filing to its withdrawal: %o', async ({ language, javaScriptEnabled }) => {
    const say = TEXTS[language];
    const grounds = `Alasan, 理由, காரணம் – ${unique()}`;
    const options = { locale: 'en-GB', javaScriptEnabled };
    // Without JavaScript no page can be looked into by axe.
    const inspect = (page: Page, shown: Language) => javaScriptEnabled && inspectPage(page, shown);
    let reference = '';
    const faults = await visit(options, async ({ page, asked }) => {
      await page.goto(`${origin}/appeal?notice=MCMC%2F2026%2F0001`);
      await page.getByRole('link', { name: LANGUAGE_NAMES[language], exact: true }).click();
      await page.waitForURL(`${origin}/appeal?notice=MCMC%2F2026%2F0001&lang=${language}`);
      expect(await page.inputValue('#notice')).toBe('MCMC/2026/0001');
      await inspect(page, language);

      // What only the server finds.
      await page.getByLabel(say.standingUser).check();
      await page.getByLabel(say.entriesLabel).fill('a.example\nother.example');
      await page.getByLabel(say.groundsLabel).fill(grounds);
      await press(page, say.submit);
      expect(await page.textContent('[role=alert]')).toContain('other.example');
      await inspect(page, language);
      expect(await page.inputValue('#grounds')).toBe(grounds);
      expect(await page.getByLabel(say.standingUser).isChecked()).toBe(true);

      await page.getByLabel(say.entriesLabel).fill('a.example');
      await page.getByLabel(say.contactLabel).fill('ana@example.org');
      await press(page, say.submit);
      expect(await page.textContent('h1')).toBe(say.filedTitle);
      await inspect(page, language);
      const [shownReference, secret] = await page.locator('.code').allTextContents();
      reference = shownReference!;

      await page.goto(`${origin}/appeal/status?lang=${language}`);
      await inspect(page, language);
      await page.fill('#reference', reference.toLowerCase());
      await page.fill('#secret', ` ${secret} `);
      await press(page, say.show);
      expect(await page.textContent('main')).toContain(grounds);
      await inspect(page, language);

      await page.getByLabel(say.messageLabel).fill(`Satu\n\nlagi ${language}`);
      await press(page, say.messageSend);
      expect(await page.textContent('[role=status]')).toContain(say.messageSent);
      await inspect(page, language);
      await press(page, say.openAppeal);
      expect(await page.textContent('ol')).toContain(`Satu\n\nlagi ${language}`);
      await page.getByLabel(say.withdrawConfirm).check();
      await press(page, say.withdrawSend);
      expect(await page.textContent('[role=status]')).toContain(say.withdrawnNow);
      await press(page, say.openAppeal);
      expect(await page.locator('textarea').count()).toBe(0);
      await inspect(page, language);
      for (const url of asked) expect(url).not.toMatch(new RegExp(`${reference}|${secret}`));
    });
    expect(faults).toEqual([]);
    expect(await rig.appeal(reference)).toMatchObject({ state: 'withdrawn', language, grounds, standing: 'user' });
    expect((await rig.appeal(reference)).entries).toHaveLength(1);
  });

  it('file once when the button is pressed twice, and show the secret', async () => {
    const before = await rig.read(({ appeals }) => appeals.count());
    await visit({}, async ({ page }) => {
      await page.goto(`${origin}/appeal?notice=SEALED%2F1&lang=en`);
      await page.getByLabel(TEXTS.en.standingOwner).check();
      await page.fill('#grounds', 'Pressed twice.');
      await page.getByRole('button', { name: TEXTS.en.submit }).dblclick();
      await page.waitForURL(`${origin}/appeal`);
      await page.locator('.code').first().waitFor();
      expect(await page.locator('.code').count()).toBe(2);
      const codes = await page.locator('.code').allTextContents();
      await page.reload();
      expect(await page.locator('.code').allTextContents()).toEqual(codes);
    });
    expect(await rig.read(({ appeals }) => appeals.count())).toBe(before + 1);
  });

  it('stop at an empty field before anything is sent', async () => {
    await visit({}, async ({ page, asked }) => {
      await page.goto(`${origin}/appeal?lang=en`);
      await press(page, TEXTS.en.submit);
      expect(asked).toHaveLength(1);
      expect(await page.evaluate('document.activeElement.id')).toBe('notice');
    });
  });

  it('keep what was written when another language is chosen after a fault', async () => {
    const faults = await visit({ viewport: DESKTOP }, async ({ page }) => {
      await page.goto(`${origin}/appeal?notice=NONE&lang=en`);
      await page.getByLabel(TEXTS.en.standingIsp).check();
      await page.fill('#grounds', '\n  Two\n\nlines');
      await press(page, TEXTS.en.submit);
      expect(await page.textContent('#notice-fault')).toBe(TEXTS.en.faultNoticeUnknown);
      for (const language of ['ta', 'zh', 'ms'] as const) {
        await press(page, LANGUAGE_NAMES[language]);
        await page.locator(`html[lang="${LANGUAGE_TAGS[language]}"]`).waitFor();
        expect(await page.inputValue('#grounds')).toBe('\n  Two\n\nlines');
        expect(await page.getByLabel(TEXTS[language].standingIsp).isChecked()).toBe(true);
        await inspectPage(page, language);
      }
      await page.fill('#notice', 'MCMC/2026/0001');
      await press(page, TEXTS.ms.submit);
      expect(await page.textContent('h1')).toBe(TEXTS.ms.filedTitle);
    });
    expect(faults).toEqual([]);
  });

  it.each([PHONE, { width: 320, height: 480 }])('show hostile text as text, dark and light: %o', async (viewport) => {
    const faults = await visit({ viewport, colorScheme: 'dark' }, async ({ page }) => {
      await page.goto(`${origin}/appeal?notice=${encodeURIComponent(HOSTILE.slice(0, 100))}&lang=ta`);
      await inspectPage(page, 'ta');
      await page.getByLabel(TEXTS.ta.standingOwner).check();
      const values = { notice: HOSTILE.slice(0, 100), entries: HOSTILE, grounds: HOSTILE };
      for (const [name, value] of Object.entries(values)) await page.fill(`#${name}`, value);
      await press(page, TEXTS.ta.submit);
      await inspectPage(page, 'ta');
      await page.emulateMedia({ colorScheme: 'light' });
      await inspectPage(page, 'ta');
      for (const [name, value] of Object.entries(values)) expect(await page.inputValue(`#${name}`)).toBe(value);
    });
    expect(faults).toEqual([]);
  });

  it('show a long and hostile appeal as text', async () => {
    const filed = await rig.file('MCMC/2026/0001', {
      grounds: `${HOSTILE} ${unique()} ${'x'.repeat(3000)}`,
      contact: `${'a'.repeat(60)}@example.org`,
      entries: ['a.example', 'www.wide.example'],
    });
    await rig.act(filed.reference, 'messages', { text: HOSTILE }, 'clerk');
    await rig.act(filed.reference, 'acknowledge', { note: HOSTILE }, 'clerk');
    await rig.act(filed.reference, 'assess', { cure: HOSTILE });
    await rig.act(filed.reference, 'decide', { outcome: 'overturned', reasons: HOSTILE, whole: true });
    const faults = await visit({ viewport: { width: 320, height: 480 } }, async ({ page }) => {
      await page.goto(`${origin}/appeal/status?lang=en`);
      await page.fill('#reference', filed.reference);
      await page.fill('#secret', filed.secret);
      await press(page, TEXTS.en.show);
      await inspectPage(page, 'en');
      const text = await page.textContent('main');
      expect(text!.split(HOSTILE)).toHaveLength(6);
      for (const part of ['a.example', 'wide.example', TEXTS.en.actRevocation, TEXTS.en.clockRelease]) {
        expect(text).toContain(part);
      }
      for (const language of ['zh', 'ms', 'ta'] as const) {
        await press(page, LANGUAGE_NAMES[language]);
        await page.locator(`html[lang="${LANGUAGE_TAGS[language]}"]`).waitFor();
        await inspectPage(page, language);
      }
    });
    expect(faults).toEqual([]);
  });

  it('let the forms go nowhere else and run nothing', async () => {
    await visit({}, async ({ page, faults, asked }) => {
      await page.goto(`${origin}/appeal?lang=en`);
      await page.evaluate(`
        document.body.append(Object.assign(document.createElement('script'), { textContent: 'globalThis.ran = true' }));
        const form = document.createElement('form');
        form.action = 'http://127.0.0.1:9/elsewhere';
        document.body.append(form);
        form.submit();
      `);
      await page.waitForTimeout(200);
      expect(await page.evaluate('globalThis.ran')).toBeUndefined();
      expect(asked).toEqual([`${origin}/appeal?lang=en`]);
      expect(faults.filter((fault) => /Content Security Policy/.test(fault)).length).toBeGreaterThanOrEqual(2);
    });
  });

  /** Something in every appeal that no other has, so that none is the same grounds twice. */
  let count = 0;
  const unique = () => `number ${++count}`;
});
