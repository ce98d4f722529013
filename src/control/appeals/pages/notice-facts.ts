import type { Language } from '../../../pages/language.ts';
import { wordInstant } from '../../../pages/time-wording.ts';
import type { Pack } from '../../../register/pack.ts';
import { NO_END_SECONDS } from '../../../register/time.ts';
import type { PlacedNotice, RegisterView, StandingState } from '../../view/register-view.ts';
import { computeFileBy, isLate } from '../appeal-clocks.ts';
import { listNamedNotices } from '../appealed-notice.ts';
import { type Html, html } from './html.ts';
import { composeFacts, PATHS } from './page-frame.ts';
import type { Say, TextKey } from './page-text.ts';

/** What notices are told of with. */
export interface NoticeTerms {
  readonly register: RegisterView;
  /** Absent while it cannot be read. */
  readonly pack?: Pack;
  readonly nowSeconds: number;
  readonly say: Say;
  readonly language: Language;
}

/** Notices with one reference that are listed to choose from. */
const LISTED_MAX = 8;

/** A notice that was exempted for one licensee is in force for all others. */
const STANDING_TEXTS: Readonly<Record<StandingState, TextKey>> = {
  scheduled: 'scheduled',
  'in-force': 'inForce',
  exempted: 'inForce',
  stayed: 'stayed',
  expired: 'over',
  revoked: 'over',
  superseded: 'over',
};

/** Tells of the notice that someone named, by what anyone may know of it: of a sealed one nothing of its annex is read. */
export function composeNotice(named: string, terms: NoticeTerms): Html {
  const { register, say } = terms;
  const notices = named === '' ? [] : listNamedNotices(register, named);
  const [notice, another] = notices;
  if (notice === undefined) {
    const text = named === '' ? say('noticeBlank') : say('noticeUnknown', { reference: named });
    return html`<p>${text}</p>\n`;
  }
  return another === undefined ? composeOne(notice, terms) : composeSeveral(named, notices, terms);
}

function composeOne(notice: PlacedNotice, terms: NoticeTerms): Html {
  const { register, pack, nowSeconds, say, language } = terms;
  const { verified, outline } = notice;
  const { statement, startSeconds, endSeconds } = verified;
  const { id, title, act, section } = findInstrument(statement.instrument, pack);
  const instant = (seconds: number | undefined) => (seconds === undefined ? undefined : wordInstant(seconds, language));
  const { state = 'in-force' } = register.standingOf(verified.id, nowSeconds) ?? {};
  return html`${composeFacts([
    [say('reference'), statement.reference],
    [say('authority'), nameAuthority(statement.authority, terms)],
    [say('instrument'), act === undefined ? id : `${act}: ${title}`],
    [say('section'), section],
    [say('from'), instant(startSeconds)],
    [say('end'), endSeconds === NO_END_SECONDS ? say('untilRevoked') : instant(endSeconds)],
    [say('review'), instant(outline.reviewBySeconds)],
    [say('standingNow'), say(STANDING_TEXTS[state])],
    [say('fileBy'), pack && instant(computeFileBy(pack, startSeconds))],
  ])}${pack && isLate(pack, startSeconds, nowSeconds) && html`<p>${say('noticeLate')}</p>\n`}${
    statement.annex.sealed && html`<p>${say('noticeSealed')}</p>\n`
  }${composeContacts(statement.redress.contacts, say)}`;
}

/** The pack that counts now may lack the instrument of an old notice. */
function findInstrument(
  id: string,
  pack: Pack | undefined,
): { id: string; act?: string; title?: string; section?: string } {
  return pack?.instruments.find((one) => one.id === id) ?? { id };
}

function nameAuthority(id: string, { register }: NoticeTerms): string {
  return register.authorities.byId.get(id)?.name ?? id;
}

function composeSeveral(named: string, notices: readonly PlacedNotice[], terms: NoticeTerms): Html {
  const { say, language } = terms;
  const items = notices.slice(0, LISTED_MAX).map(({ verified }) => {
    const { id, statement, startSeconds } = verified;
    const text = `${nameAuthority(statement.authority, terms)} – ${wordInstant(startSeconds, language)}`;
    return html`<li><a href="${PATHS.file}?notice=${id}&lang=${language}">${text}</a></li>\n`;
  });
  return html`<p>${say('noticeSeveral', { reference: named })}</p>
<ul>
${items}</ul>
`;
}

/** Contacts are `tel:` or `mailto:`, as the schema of notices has them. */
function composeContacts(contacts: readonly string[], say: Say): Html {
  const items = contacts.map((contact) => {
    const label = say(contact.startsWith('tel:') ? 'telephone' : 'email') + say('colon');
    const shown = contact.slice(contact.indexOf(':') + 1).split('?', 1)[0]!;
    return html`<li>${label}<a href="${contact}">${shown}</a></li>\n`;
  });
  return html`<p>${say('contacts')}</p>
<ul>
${items}</ul>
`;
}
