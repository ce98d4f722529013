import type { Language } from '../../../pages/language.ts';
import { wordInstant } from '../../../pages/time-wording.ts';
import type { Pack } from '../../../register/pack.ts';
import { DAY_SECONDS } from '../../../register/time.ts';
import type { AppealRecord } from '../../store.ts';
import { assessWithinSeconds, eraseAfterDays } from '../appeal-clocks.ts';
import { GROUNDS_MAX_LENGTH, NOTICE_MAX_LENGTH, STANDINGS } from '../appeal-forms.ts';
import { composeChoice, composeField, composeHidden, composeSummary, type FormState } from './form-fields.ts';
import { type Html, html } from './html.ts';
import { composeNotice, type NoticeTerms } from './notice-facts.ts';
import { composeFacts, PATHS, type Page } from './page-frame.ts';
import { type Say, type TextKey, textsOf } from './page-text.ts';
import { wordCount, wordSpan } from './time-wording.ts';

const HOUR_SECONDS = 3600;
const ENTRIES_MAX_LENGTH = 20_000;
/** The form's id, by which the buttons of the switch send it. */
const FORM = 'filing';

const STANDING_TEXTS: Readonly<Record<(typeof STANDINGS)[number], TextKey>> = {
  owner: 'standingOwner',
  user: 'standingUser',
  isp: 'standingIsp',
};

/** The form as it is shown to someone. */
export interface FilingForm extends FormState, NoticeTerms {
  /** Makes this form count once, however often it is sent. */
  readonly key: string;
  /** Whether there is something in it that a link would lose. */
  readonly isFilled: boolean;
}

/** Composes the page to file an appeal with. */
export function composeFilingPage(form: FilingForm): Page {
  const { say, language, fields, faults, pack, isFilled } = form;
  const { notice = '' } = fields;
  const title = notice === '' ? say('formTitle') : say('formTitleNotice', { reference: cutReference(notice) });
  return {
    language,
    title: faults.length > 0 ? say('faultTitle', { title }) : title,
    switch: isFilled ? { form: FORM, to: PATHS.form } : { query: notice === '' ? {} : { notice } },
    main: html`<h1>${say('formTitle')}</h1>
${composeSummary(say('faultsHeading'), faults)}<p>${say('formLead')}</p>
<p><a href="#${FORM}">${say('formHeading')}</a></p>
<h2>${say('noticeHeading')}</h2>
${composeNotice(cutReference(notice), form)}<h2>${say('whoHeading')}</h2>
<p>${say('who')}</p>
<p>${say('whoHears')}</p>
${pack && composeTimes(pack, say, language)}<h2>${say('dataHeading')}</h2>
<p>${say('dataPrivate')}</p>
<p>${say('dataPublic')}</p>
${pack && html`<p>${say('dataErased', { time: wordSpan(eraseAfterDays(pack) * DAY_SECONDS, language) })}</p>\n`}<h2>${say('formHeading')}</h2>
${composeForm(form)}`,
  };
}

/** Whatever stands in an address is shown no longer than a reference can be. */
function cutReference(notice: string): string {
  return notice.trim().slice(0, NOTICE_MAX_LENGTH);
}

function composeTimes(pack: Pack, say: Say, language: Language): Html {
  const { fileWithinDays, acknowledgeWithinDays, decideWithinDays, releaseWithinHours } = pack.appeals;
  const span = (seconds: number) => wordSpan(seconds, language);
  return html`<h2>${say('timesHeading')}</h2>
${composeFacts([
  [say('timeFile'), span(fileWithinDays * DAY_SECONDS)],
  [say('timeAcknowledge'), span(acknowledgeWithinDays * DAY_SECONDS)],
  [say('timeAssess'), span(assessWithinSeconds(pack))],
  [say('timeDecide'), span(decideWithinDays * DAY_SECONDS)],
  [say('timeRelease'), span(releaseWithinHours * HOUR_SECONDS)],
])}`;
}

function composeForm(form: FilingForm): Html {
  const { say, language, key } = form;
  return html`<form id="${FORM}" method="post" action="${PATHS.file}">
${composeHidden({ language, key })}${composeField(
  { name: 'notice', label: say('reference'), hint: say('noticeHint'), maxLength: NOTICE_MAX_LENGTH },
  form,
)}${composeChoice(
  'standing',
  say('standingLegend'),
  STANDINGS.map((value) => ({ value, label: say(STANDING_TEXTS[value]) })),
  form,
)}${composeField(
  {
    name: 'entries',
    label: say('entriesLabel'),
    hint: say('entriesHint'),
    optional: true,
    maxLength: ENTRIES_MAX_LENGTH,
    rows: 3,
  },
  form,
)}${composeField(
  {
    name: 'grounds',
    label: say('groundsLabel'),
    hint: say('groundsHint', { max: wordCount(GROUNDS_MAX_LENGTH, language) }),
    maxLength: GROUNDS_MAX_LENGTH,
    rows: 10,
  },
  form,
)}${composeField(
  {
    name: 'contact',
    label: say('contactLabel'),
    hint: say('contactHint'),
    optional: true,
    maxLength: 254,
    type: 'email',
    autocomplete: 'email',
  },
  form,
)}${composeTrap(form)}<p><button class="send">${say('submit')}</button></p>
</form>
`;
}

/** A field that people do not see. Whoever has it filled in all the same, such as by a browser, is shown it, empty. */
function composeTrap(form: FilingForm): Html {
  const label = form.say('trapLabel');
  const { website: _, ...fields } = form.fields;
  if (form.faults.some(({ field }) => field === 'website')) {
    return composeField({ name: 'website', label, optional: true, maxLength: 200 }, { ...form, fields });
  }
  return html`<div class="trap" aria-hidden="true"><label for="website">${label}</label><input id="website" name="website" tabindex="-1" autocomplete="off"></div>
`;
}

/** Composes the page that tells the reference and, this once, the secret. */
export function composeFiledPage(appeal: AppealRecord, secret: string, language: Language): Page {
  const say = textsOf(language);
  const instant = (seconds: number) => wordInstant(seconds, language);
  return {
    language,
    title: say('filedTitle'),
    main: html`<h1>${say('filedTitle')}</h1>
<p>${say('filedLead')}</p>
${composeFacts([
  [say('appealReference'), html`<span class="code" translate="no">${appeal.id}</span>`],
  [say('secret'), html`<span class="code" translate="no">${secret}</span>`],
])}<div class="box">
<p><strong>${say('secretOnce')}</strong></p>
<p>${say('secretKeep')}</p>
</div>
<h2>${say('nextHeading')}</h2>
${composeFacts([
  [say('nextAcknowledge'), instant(appeal.acknowledgeBySeconds)],
  [say('nextAssess'), instant(appeal.assessBySeconds)],
  [say('nextDecide'), instant(appeal.decideBySeconds)],
])}<form method="post" action="${PATHS.status}">
${composeHidden({ language, reference: appeal.id, secret })}<p><button class="send">${say('openAppeal')}</button></p>
</form>
`,
  };
}
