import axe, { type AxeResults } from 'axe-core';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { findProgram } from './programs.ts';

/** Path of Debian's Chromium, if it is installed. */
export const CHROMIUM = findProgram('chromium');

export const PHONE = { width: 360, height: 640 };
export const DESKTOP = { width: 1280, height: 800 };

/** What a step may take before it fails with a word on which it was, and not with its whole test. */
const STEP_MILLIS = 20_000;

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

/** A page, and what its browser had to say that is a fault; a test may take out what it expects. */
export interface Visit {
  readonly page: Page;
  readonly faults: string[];
  /** Every URL that was asked for. */
  readonly asked: string[];
}

/** Starts the browser; `--no-sandbox` for root alone, whom Chromium gives none. */
export function launchBrowser(): Promise<Browser> {
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath: CHROMIUM, args });
}

/**
 * Runs `action` with a page in a context of its own, on a phone unless told. Faults are errors, dialogs, words on the console
 * (but that of a status of 400 or more, which it always names), and requests for anything but pages.
 */
export async function visit(
  browser: Browser,
  options: BrowserContextOptions,
  action: (visit: Visit) => Promise<void>,
): Promise<string[]> {
  const context = await browser.newContext({ viewport: PHONE, ...options });
  context.setDefaultTimeout(STEP_MILLIS);
  const [faults, asked]: [string[], string[]] = [[], []];
  try {
    const page = await context.newPage();
    page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
    page.on('dialog', (dialog) => faults.push(`dialog: ${dialog.message()}`));
    page.on('console', (message) => {
      if (!/the server responded with a status of \d/.test(message.text())) faults.push(`console: ${message.text()}`);
    });
    page.on('request', (request) => {
      asked.push(request.url());
      if (!request.isNavigationRequest()) faults.push(`request: ${request.url()}`);
    });
    await action({ page, faults, asked });
    return faults;
  } finally {
    await context.close();
  }
}

/** What axe finds wrong with a page by WCAG 2.2 AA, and where it cannot tell the contrast. */
export async function findBarriers(page: Page): Promise<string[]> {
  // Not as a script of the page, which its policy would refuse.
  await page.evaluate(axe.source);
  const results = (await page.evaluate(`axe.run(document, { runOnly: ${JSON.stringify(RULES)} })`)) as AxeResults;
  if (!results.passes.some(({ id }) => id === 'color-contrast')) return ['axe did not look at the contrast'];
  const unsure = results.incomplete.filter(({ id }) => id === 'color-contrast');
  return [...results.violations, ...unsure].flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}

/** Pixels by which a page is wider than its window. */
export function measureOverflow(page: Page): Promise<number> {
  return page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
}
