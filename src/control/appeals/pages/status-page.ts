import type { Language } from '../../../pages/language.ts';
import { wordInstant } from '../../../pages/time-wording.ts';
import { secondsOf } from '../../../register/time.ts';
import type { AppealRecord } from '../../store.ts';
import type { RegisterView } from '../../view/register-view.ts';
import { type Appeal, MESSAGE_MAX_LENGTH, type PublicAppeal } from '../appeal-forms.ts';
import { canAppellant } from '../appeal-states.ts';
import { composeField, composeHidden, composeSummary, composeTick, type FormState } from './form-fields.ts';
import { type Html, html } from './html.ts';
import { composeFacts, type Fact, PATHS, type Page } from './page-frame.ts';
import type { Say, TextKey } from './page-text.ts';
import { SECRET_MAX_LENGTH } from './status-fields.ts';
import { wordCount } from './time-wording.ts';

/** The form that shows the appeal again, by whose id the buttons of the switch send it. */
const FORM = 'look';
const REFERENCE_MAX_LENGTH = 40;
const REFERENCE_EXAMPLE = 'A-7K2M9-QX4TB';
/** Newest events that are shown. */
const EVENTS_SHOWN = 200;
const ENTRIES_SHOWN = 100;

/** An appeal as its appellant sees it. */
export interface OwnAppeal {
  readonly record: AppealRecord;
  readonly view: Appeal;
  /** What proves that it is hers, to go with what she does next. */
  readonly secret: string;
  readonly register: RegisterView;
}

/** What is wrong, as the page tells it. */
export interface StatusForm extends FormState {
  readonly heading: TextKey;
  /** Makes the form of this page count once, however often it is sent. */
  readonly key: string;
}

/** Composes the page that asks which appeal to show. */
export function composeLookPage(form: StatusForm): Page {
  const { say, language, faults, heading } = form;
  const title = say('statusTitle');
  return {
    language,
    title: faults.length > 0 ? say('faultTitle', { title }) : title,
    switch: { query: {} },
    main: html`<h1>${title}</h1>
${composeSummary(say(heading), faults)}<p>${say('statusLead')}</p>
<form method="post" action="${PATHS.status}">
${composeHidden({ language })}${composeField(
  {
    name: 'reference',
    label: say('appealReference'),
    hint: say('referenceHint', { example: REFERENCE_EXAMPLE }),
    maxLength: REFERENCE_MAX_LENGTH,
  },
  form,
)}${composeField({ name: 'secret', label: say('secret'), maxLength: SECRET_MAX_LENGTH }, form)}<p><button class="send">${say('show')}</button></p>
</form>
`,
  };
}

/** Composes the page of an appeal for its appellant, with what she can do. */
export function composeStatusPage(own: OwnAppeal, form: StatusForm): Page {
  const { view } = own;
  const { say, language, faults, heading } = form;
  const title = say('appealTitle', { reference: view.reference });
  return {
    language,
    title: faults.length > 0 ? say('faultTitle', { title }) : title,
    switch: { form: FORM, to: PATHS.status },
    main: html`<h1>${title}</h1>
${composeSummary(say(heading), faults)}${composeState(own, say, language)}${composeClocks(view.clocks, say, language)}${composeActs(view.statements, say, language)}${composeHistory(view.events, say, language)}<h2>${say('ownHeading')}</h2>
${composeFacts([
  [say('grounds'), view.grounds ? composeSaid(view.grounds) : say('erased')],
  [say('contactLabel'), view.contact],
])}${composeMessageForm(own, form)}${composeWithdrawForm(own, form)}<form id="${FORM}" method="post" action="${PATHS.status}">
${composeHidden({ language, ...proofOf(own) })}</form>
`,
  };
}

/**
 * Composes the page that says what was done. It is kept for whoever sends the form again, and so does not have the appeal in
 * it, which may be large.
 */
export function composeDonePage(proof: { reference: string; secret: string }, done: TextKey, form: StatusForm): Page {
  const { say, language } = form;
  const title = say('appealTitle', { reference: proof.reference });
  return {
    language,
    title,
    main: html`<h1>${title}</h1>
<div class="box" role="status"><p>${say(done)}</p></div>
<form method="post" action="${PATHS.status}">
${composeHidden({ language, ...proof })}<p><button class="send">${say('openAppeal')}</button></p>
</form>
`,
  };
}

/** A page with a secret in it is kept by nobody, and whoever sees it has typed the secret. */
function proofOf({ view, secret }: OwnAppeal): { reference: string; secret: string } {
  return { reference: view.reference, secret };
}

const STATE_TEXTS: Readonly<Record<Appeal['state'], TextKey>> = {
  filed: 'stateFiled',
  acknowledged: 'stateAcknowledged',
  assessed: 'stateAssessed',
  decided: 'stateDecided',
  withdrawn: 'stateWithdrawn',
};

const OUTCOME_TEXTS: Readonly<Record<NonNullable<Appeal['outcome']>, TextKey>> = {
  upheld: 'outcomeUpheld',
  varied: 'outcomeVaried',
  overturned: 'outcomeOverturned',
  rejected: 'outcomeRejected',
};

const STANDING_TEXTS: Readonly<Record<Appeal['standing'], TextKey>> = {
  owner: 'asOwner',
  user: 'asUser',
  isp: 'asIsp',
};

function composeState(own: OwnAppeal, say: Say, language: Language): Html {
  const { view } = own;
  const filed = wordTime(view.filedAt, language);
  return composeFacts([
    [say('state'), say(STATE_TEXTS[view.state])],
    [say('outcome'), view.outcome && say(OUTCOME_TEXTS[view.outcome])],
    [say('reasons'), view.reasons && composeSaid(view.reasons)],
    [say('cure'), view.cure && composeSaid(view.cure)],
    [say('cured'), view.curedAt && wordTime(view.curedAt, language)],
    [say('reference'), view.notice.reference ?? view.notice.id],
    [say('entries'), composeEntries(own, say)],
    [say('filedAs'), say(STANDING_TEXTS[view.standing])],
    [say('filed'), view.late ? html`${filed}<br><span class="soft">${say('late')}</span>` : filed],
  ]);
}

/** The view has no entries of a sealed notice, whoever looks. */
function composeEntries({ view, register }: OwnAppeal, say: Say): string | Html {
  if (view.notice.sealed) return say('entriesSealed');
  if (view.entries === undefined) return say('entriesAll');
  const known = register.entriesOf(view.notice.id);
  const items = view.entries.slice(0, ENTRIES_SHOWN).map((id) => {
    const at = known?.indexOf(id) ?? -1;
    return html`<li>${at < 0 ? id : (known!.urls.get(at)?.url ?? known!.name(at))}</li>\n`;
  });
  return html`<ul>
${items}</ul>`;
}

function composeClocks(clocks: Appeal['clocks'], say: Say, language: Language): Html {
  const clock = (label: TextKey, value: Appeal['clocks']['decide'] | undefined): Fact => {
    if (value === undefined) return [say(label), undefined];
    const due = say('clockDue', { time: wordTime(value.by, language) });
    const done = value.at && html`<br>${say('clockDone', { time: wordTime(value.at, language) })}`;
    return [say(label), html`${due}${done}${value.missed && html`<br><strong>${say('clockMissed')}</strong>`}`];
  };
  return html`<h2>${say('clocksHeading')}</h2>
${composeFacts([
  clock('clockAcknowledge', clocks.acknowledge),
  clock('clockAssess', clocks.assess),
  clock('clockDecide', clocks.decide),
  clock('clockRelease', clocks.release),
])}`;
}

const ACT_TEXTS: Readonly<Partial<Record<string, TextKey>>> = {
  stay: 'actStay',
  variation: 'actVariation',
  revocation: 'actRevocation',
};

function composeActs(statements: PublicAppeal['statements'], say: Say, language: Language): Html | undefined {
  if (statements.length === 0) return undefined;
  const facts = statements.map(({ type, state, publishedAt }): Fact => {
    const published = () =>
      say('actPublished', { time: publishedAt === undefined ? '' : wordTime(publishedAt, language) });
    const value = state === 'published' ? published() : say(state === 'abandoned' ? 'actAbandoned' : 'actPreparing');
    return [say(ACT_TEXTS[type] ?? 'actOther'), value];
  });
  return html`<h2>${say('actsHeading')}</h2>
${composeFacts(facts)}`;
}

const EVENT_TEXTS: Readonly<Partial<Record<string, TextKey>>> = {
  filed: 'eventFiled',
  acknowledged: 'eventAcknowledged',
  assessed: 'eventAssessed',
  message: 'eventMessage',
  'stay-ordered': 'eventStay',
  decided: 'eventDecided',
  'cure-confirmed': 'eventCure',
  withdrawn: 'eventWithdrawn',
};

function composeHistory(events: PublicAppeal['events'], say: Say, language: Language): Html {
  const items = events.slice(-EVENTS_SHOWN).map(({ at, kind, by, note, message }) => {
    const who = say(by === 'appellant' ? 'byAppellant' : 'byAuthority');
    const texts = [note, message].filter((text) => text !== undefined);
    return html`<li><strong>${say(EVENT_TEXTS[kind] ?? 'eventOther')}</strong><br><span class="soft">${who}${say('colon')}${wordTime(at, language)}</span>${texts.map((text) => html`<div>${composeSaid(text)}</div>`)}</li>
`;
  });
  return html`<h2>${say('historyHeading')}</h2>
${events.length > EVENTS_SHOWN && html`<p>${say('earlierEvents')}</p>\n`}<ol>
${items}</ol>
`;
}

/** What someone wrote, with its lines. */
function composeSaid(text: string): Html {
  return html`<bdi class="said">${text}</bdi>`;
}

function composeMessageForm(own: OwnAppeal, form: StatusForm): Html | undefined {
  const { say, language, key } = form;
  if (!canAppellant(own.record, 'message')) return undefined;
  return html`<h2>${say('messageHeading')}</h2>
<form method="post" action="${PATHS.message}">
${composeHidden({ language, key, ...proofOf(own) })}${composeField(
  {
    name: 'text',
    label: say('messageLabel'),
    hint: say('messageHint', { max: wordCount(MESSAGE_MAX_LENGTH, language) }),
    maxLength: MESSAGE_MAX_LENGTH,
    rows: 5,
  },
  form,
)}<p><button class="send">${say('messageSend')}</button></p>
</form>
`;
}

function composeWithdrawForm(own: OwnAppeal, form: StatusForm): Html | undefined {
  const { say, language, key } = form;
  if (!canAppellant(own.record, 'withdraw')) return undefined;
  return html`<h2>${say('withdrawHeading')}</h2>
<p>${say('withdrawLead')}</p>
<form method="post" action="${PATHS.withdraw}">
${composeHidden({ language, key, ...proofOf(own) })}${composeField(
  { name: 'reason', label: say('withdrawReason'), optional: true, maxLength: MESSAGE_MAX_LENGTH, rows: 2 },
  form,
)}${composeTick('confirm', say('withdrawConfirm'), form)}<p><button class="send">${say('withdrawSend')}</button></p>
</form>
`;
}

function wordTime(instant: string, language: Language): string {
  return wordInstant(secondsOf(instant), language);
}
