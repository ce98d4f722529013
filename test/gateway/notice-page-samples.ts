import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { CategoryTitles, HelpLinks } from '../../src/gateway/notice-page/notice-page.ts';
import type { NoticeDetails } from '../../src/gateway/url-rules.ts';

const PACK = parse(readFileSync(new URL('../../policies/my-cma1998.yaml', import.meta.url), 'utf8')) as {
  categories: { id: string; title: Record<string, string> }[];
  help: HelpLinks;
};

/** 21 November 2026, 11:20 in Kuala Lumpur. */
export const NOW_SECONDS = 1_795_231_200;

/** What the Malaysian pack gives the page. */
export const SETTINGS = {
  help: PACK.help,
  operator: 'Contoh Net Sdn Bhd',
  categoryTitles: Object.fromEntries(PACK.categories.map(({ id, title }) => [id, title])) as CategoryTitles,
};

/** A notice with everything a notice may have. */
export const NOTICE: NoticeDetails = {
  reference: 'MCMC/NOTIS/2026/0117',
  authority: 'Malaysian Communications and Multimedia Commission (MCMC)',
  instrument: 'Communications and Multimedia Act 1998',
  section: '263(2)',
  category: 'online-scams',
  sealed: false,
  fromSeconds: Date.UTC(2026, 9, 1, 1) / 1000,
  endSeconds: Date.UTC(2027, 0, 15, 8) / 1000,
  reviewBySeconds: Date.UTC(2026, 11, 5, 16, 30) / 1000,
  contacts: ['tel:+60-3-8688-8000', 'mailto:appeals@mcmc.example'],
  appealUrl: 'https://warta.mcmc.example/appeals/new?notice=0117',
};

/** A page with an internationalised host. */
export const BLOCKED_URL = 'http://xn--fsqu00a.xn--0zwm56d/win/bonus?id=5';

/** The longest that statements and packs admit (title and address of help: 200 and 500 characters, 8 contacts). */
export const LONGEST_NOTICE: NoticeDetails = {
  ...NOTICE,
  reference: `MCMC/${'0123456789'.repeat(12).slice(5)}`,
  authority: 'Suruhanjaya Komunikasi dan Multimedia Malaysia & '.repeat(5).slice(0, 200),
  instrument: 'தகவல் தொடர்பு மற்றும் பல்லூடகச் சட்டம் '.repeat(6).slice(0, 200),
  section: 'direction to a network service provider '.repeat(5).slice(0, 200),
  contacts: [
    ...Array.from({ length: 4 }, (_, index) => `tel:+60-3-8688-80${index}0`),
    ...Array.from({ length: 4 }, (_, index) => `mailto:${'a'.repeat(60)}${index}@${'b'.repeat(60)}.example`),
  ],
  appealUrl: `https://warta.mcmc.example/appeals/new?notice=${'0'.repeat(300)}`,
};
