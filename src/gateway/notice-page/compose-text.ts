import { LANGUAGE_TAGS } from '../../pages/language.ts';
import { toPrintable } from '../../pages/safe-text.ts';
import type { NoticeDetails } from '../url-rules.ts';
import type { AddressOnPage } from './blocked-address.ts';
import type { PageContent, PageLink } from './page-content.ts';
import type { PageSettings } from './page-settings.ts';
import { formatUtc } from './time-wording.ts';

/** The page as plain text. */
export function composePlainText(content: PageContent, address: AddressOnPage): string {
  const { say, facts, contacts, appealForm, help } = content;
  const sections = [
    [say('heading'), content.lead],
    [say('blockedHeading'), ...listAddress(content, address)],
    [
      say('noticeHeading'),
      ...facts.map(({ label, value, utc, distance }) => {
        const remarks = [utc, distance].filter((remark) => remark !== undefined).join(', ');
        return `${label}${say('colon')}${value}${remarks && ` (${remarks})`}`;
      }),
    ],
    [say('reasonHeading'), say('reason'), content.category],
    [
      say('appealHeading'),
      content.appeal,
      ...(appealForm === undefined ? [] : [lineOf(appealForm)]),
      ...(contacts.length === 0 ? [] : [say('contacts')]),
      ...contacts.map(({ label, text }) => `- ${label === undefined ? '' : label + say('colon')}${text}`),
      ...(appealForm === undefined && contacts.length === 0 ? [content.noContacts] : []),
    ],
    ...(help.links.length === 0 ? [] : [[say('helpHeading'), ...help.links.map((link) => `- ${lineOf(link)}`)]]),
    [say('aboutHeading'), content.about, content.privacy],
  ];
  return sections.map(([heading, ...lines]) => `== ${heading} ==\n${lines.join('\n')}\n`).join('\n');
}

function listAddress({ say }: PageContent, address: AddressOnPage): string[] {
  if (address === 'sealed') return [say('blockedSealed')];
  if (address === 'unnamed') return [say('blockedUnnamed')];
  const shown = `${say(address.kind === 'url' ? 'blockedUrl' : 'blockedName')}${say('colon')}${address.shown}`;
  return address.ascii === undefined ? [shown] : [shown, `${say('asciiForm')}${say('colon')}${address.ascii}`];
}

function lineOf({ text, href }: PageLink): string {
  return href === undefined ? text : `${text}: ${href}`;
}

/** The page for programs: a problem (RFC 9457) whose members beyond the standard ones are those of the page. */
export function composeProblem(
  content: PageContent,
  address: AddressOnPage,
  notice: NoticeDetails,
  { operator }: PageSettings,
): string {
  const { endSeconds, reviewBySeconds } = notice;
  return JSON.stringify({
    type: 'about:blank',
    title: 'Unavailable For Legal Reasons',
    status: 451,
    detail: content.lead,
    language: LANGUAGE_TAGS[content.language],
    // Undefined members are left out.
    blocked:
      typeof address === 'string'
        ? undefined
        : { [address.kind]: address.ascii ?? address.shown, shown: address.shown },
    notice: {
      reference: toPrintable(notice.reference),
      authority: toPrintable(notice.authority),
      instrument: toPrintable(notice.instrument),
      section: toPrintable(notice.section),
      category: { id: toPrintable(notice.category), title: content.category },
      sealed: notice.sealed,
      from: formatUtc(notice.fromSeconds),
      until: endSeconds === undefined ? undefined : formatUtc(endSeconds),
      untilRevoked: endSeconds === undefined,
      reviewBy: reviewBySeconds === undefined ? undefined : formatUtc(reviewBySeconds),
    },
    appeal: {
      text: content.appeal,
      form: content.appealForm?.href,
      contacts: content.contacts.map(({ href, text }) => href ?? text),
    },
    help: content.help.links.map(({ text, href }) => ({ title: text, url: href })),
    operator: toPrintable(operator),
    privacy: content.privacy,
  });
}
