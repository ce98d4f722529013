import type { Language } from '../../../pages/language.ts';
import { HIDDEN_MARK } from '../../../pages/safe-text.ts';
import type { FormFields } from '../../http/form-body.ts';
import { hasHidden } from '../../http/route.ts';
import { type Html, html } from './html.ts';
import type { Say } from './page-text.ts';

/** What is wrong with a form; of one field, or with no field of the whole. */
export interface Fault {
  readonly field?: string;
  readonly text: string;
  /** Where to go on. */
  readonly link?: { readonly href: string; readonly text: string };
}

/** A form as it is shown: what was filled in, and what is wrong with it. */
export interface FormState {
  readonly say: Say;
  readonly language: Language;
  readonly fields: FormFields;
  readonly faults: readonly Fault[];
}

/** How a field is shown. */
export interface Field {
  readonly name: string;
  readonly label: string;
  readonly hint?: string;
  readonly optional?: true;
  readonly maxLength: number;
  /** Lines of a field that has several. */
  readonly rows?: number;
  readonly type?: 'text' | 'email';
  readonly autocomplete?: 'email' | 'off';
}

/** Finds fields with characters that do not show. */
export function findHidden({ fields, say }: Omit<FormState, 'faults'>, names: readonly string[]): Fault[] {
  return names
    .filter((name) => hasHidden(fields[name] ?? ''))
    .map((field) => ({ field, text: say('faultHidden', { mark: HIDDEN_MARK }) }));
}

/** Leaves the first fault of each field. */
export function firstOfEach(faults: readonly Fault[]): Fault[] {
  return faults.filter(
    ({ field }, at) => field === undefined || faults.findIndex((other) => other.field === field) === at,
  );
}

/** Tells what is wrong above the form, with links to the fields. */
export function composeSummary(heading: string, faults: readonly Fault[]): Html | undefined {
  if (faults.length === 0) return undefined;
  const items = faults.map(({ field, text, link }) => {
    const more = link && html` <a href="${link.href}">${link.text}</a>`;
    return field === undefined ? html`<li>${text}${more}</li>\n` : html`<li><a href="#${field}">${text}</a></li>\n`;
  });
  return html`<div class="box faults" role="alert">
<h2>${heading}</h2>
<ul>
${items}</ul>
</div>
`;
}

/** Composes a field with its label, its hint and what is wrong with it. */
export function composeField(field: Field, state: FormState): Html {
  const { name, label, hint, optional } = field;
  const fault = faultOf(state, name);
  const mark = optional && html` <span class="soft">(${state.say('optional')})</span>`;
  return html`<div class="field${fault && ' wrong'}">
<label for="${name}">${label}${mark}</label>
${hint && html`<p class="hint" id="${name}-hint">${hint}</p>\n`}${composeFault(name, fault)}${composeInput(field, state, fault)}
</div>
`;
}

function composeInput(field: Field, { fields }: FormState, fault: string | undefined): Html {
  const { name, hint, optional, maxLength, rows, type = 'text', autocomplete = 'off' } = field;
  const value = fields[name] ?? '';
  const common = html` id="${name}" name="${name}" maxlength="${maxLength}"${!optional && html` required`}${describe(name, hint, fault)}`;
  // The parser drops a line end after the tag (HTML §13.2.6.4.7), and would drop one of hers.
  return rows === undefined
    ? html`<input type="${type}"${common} autocomplete="${autocomplete}" autocapitalize="none" spellcheck="false" value="${value}">`
    : html`<textarea${common} rows="${rows}">\n${value}</textarea>`;
}

/** A choice of one among several. */
export function composeChoice(name: string, legend: string, choices: readonly Choice[], state: FormState): Html {
  const fault = faultOf(state, name);
  const items = choices.map(({ value, label }, at) => {
    const checked = state.fields[name] === value ? html` checked` : undefined;
    // The link of the summary leads to the first.
    const id = at === 0 ? name : `${name}-${value}`;
    return html`<div class="choice"><input type="radio" id="${id}" name="${name}" value="${value}" required${checked}><label for="${id}">${label}</label></div>
`;
  });
  return html`<fieldset class="field${fault && ' wrong'}"${fault && html` aria-describedby="${name}-fault"`}>
<legend>${legend}</legend>
${composeFault(name, fault)}${items}</fieldset>
`;
}

/** One of several to choose from. */
export interface Choice {
  readonly value: string;
  readonly label: string;
}

/** A box to tick. */
export function composeTick(name: string, label: string, state: FormState): Html {
  const fault = faultOf(state, name);
  return html`<div class="field${fault && ' wrong'}">
${composeFault(name, fault)}<div class="choice"><input type="checkbox" id="${name}" name="${name}" value="yes" required${describe(name, undefined, fault)}><label for="${name}">${label}</label></div>
</div>
`;
}

/** Fields that are sent and not shown. */
export function composeHidden(values: Readonly<Record<string, string>>): Html[] {
  return Object.entries(values).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">\n`);
}

function faultOf({ faults }: FormState, name: string): string | undefined {
  return faults.find(({ field }) => field === name)?.text;
}

function composeFault(name: string, fault: string | undefined): Html | undefined {
  return fault === undefined ? undefined : html`<p class="fault" id="${name}-fault">${fault}</p>\n`;
}

function describe(name: string, hint: string | undefined, fault: string | undefined): Html {
  const ids = [...(hint === undefined ? [] : [`${name}-hint`]), ...(fault === undefined ? [] : [`${name}-fault`])];
  const described = ids.length === 0 ? undefined : html` aria-describedby="${ids.join(' ')}"`;
  return html`${described}${fault && html` aria-invalid="true"`}`;
}
