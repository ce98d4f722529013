import { z } from 'zod';
import type { FormFields } from '../../http/form-body.ts';
import { ProblemError } from '../../http/problem.ts';
import type { RefusedCall } from '../../http/route.ts';
import { ENTRIES_MAX, filingForm, GROUNDS_MAX_LENGTH, NAME_MAX_LENGTH, NOTICE_MAX_LENGTH } from '../appeal-forms.ts';
import { FilingRefused } from '../file-appeal.ts';
import { type Fault, type FormState, findHidden, firstOfEach } from './form-fields.ts';
import { PATHS } from './page-frame.ts';
import { wordCount } from './time-wording.ts';

/** A character of three bytes is nine in a form: the longest grounds have 72 kB, and the addresses have 180 kB. */
export const FILING_MAX_BYTES = 256 * 1024;

/** Longest line that is repeated in a fault, and how many of them. */
const STRAY_LENGTH = 80;
const STRAY_LINES = 5;

/** What the form of a filing sends, as the filing that the API takes and judges. */
export const filingFields = z.record(z.string(), z.string()).transform(composeFiling).pipe(filingForm);

/** The page's language counts, which the handler knows; the key of the form counts before. */
function composeFiling({ key: _key, lang: _lang, language: _language, ...fields }: FormFields): object {
  const { notice, entries, contact } = fields;
  const lines = splitLines(entries);
  return {
    ...fields,
    notice: notice?.trim(),
    entries: lines.length === 0 ? undefined : lines,
    contact: contact?.trim() || undefined,
  };
}

/** The lines that have something in them. */
function splitLines(text = ''): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

/** Finds what is wrong with a filing that was refused, in words for whoever filled it in. */
export function findFilingFaults({ problem, error }: RefusedCall, form: Omit<FormState, 'faults'>): Fault[] {
  const { say, language } = form;
  if (error instanceof FilingRefused) {
    if (error.same === undefined) return [{ text: say('full') }];
    const link = { href: `${PATHS.status}?lang=${language}`, text: say('followLink') };
    return [{ text: say('repeated', { reference: error.same }), link }];
  }
  if (problem.status === 404) return [{ field: 'notice', text: say('faultNoticeUnknown') }];
  if (problem.status === 409) return [{ field: 'notice', text: say('faultNoticeSeveral') }];
  if (error instanceof ProblemError) return [{ field: 'entries', text: findStray(error, form) }];
  const found = problem.status === 400 ? findInvalid(form) : [];
  return found.length > 0 ? found : [{ text: wordProblem(problem.status, form) }];
}

/** Says why something was not done that no field is to blame for. */
export function wordProblem(status: number, { say }: Pick<FormState, 'say'>): string {
  if (status === 429) return say('limited');
  if (status === 413) return say('oversized');
  return say(status >= 500 ? 'unavailable' : 'refused');
}

function findStray({ errors }: ProblemError, { say, fields }: Omit<FormState, 'faults'>): string {
  const lines = splitLines(fields.entries);
  const stray = errors.map(({ path }) => lines[Number(path?.split('/').at(-1))] ?? '');
  const shown = stray.slice(0, STRAY_LINES).map((line) => line.slice(0, STRAY_LENGTH).toWellFormed());
  return say('faultEntriesStray', { lines: shown.join(', ') + (stray.length > STRAY_LINES ? ', …' : '') });
}

/** Asks the schema again, which names the fields. Without a form there are none. */
function findInvalid(form: Omit<FormState, 'faults'>): Fault[] {
  if (Object.keys(form.fields).length === 0) return [];
  const { error } = filingFields.safeParse(form.fields);
  const invalid = (error?.issues ?? []).map(({ path }) => {
    const [field] = path;
    return typeof field === 'string' ? wordIssue(field, path.length > 1, form) : undefined;
  });
  return firstOfEach([
    ...findHidden(form, ['notice', 'entries', 'grounds', 'contact']),
    ...invalid.filter((fault) => fault !== undefined),
  ]);
}

function wordIssue(field: string, isWithin: boolean, form: Omit<FormState, 'faults'>): Fault | undefined {
  const { say, fields, language } = form;
  const isBlank = (fields[field] ?? '').trim() === '';
  const most = (max: number) => ({ max: wordCount(max, language) });
  switch (field) {
    case 'notice':
      return { field, text: isBlank ? say('faultNoticeMissing') : say('faultLong', most(NOTICE_MAX_LENGTH)) };
    case 'standing':
      return { field, text: say('faultStanding') };
    case 'entries':
      return {
        field,
        text: isWithin ? say('faultEntriesLong', most(NAME_MAX_LENGTH)) : say('faultEntriesMany', most(ENTRIES_MAX)),
      };
    case 'grounds':
      return { field, text: isBlank ? say('faultGroundsMissing') : say('faultLong', most(GROUNDS_MAX_LENGTH)) };
    case 'contact':
      return { field, text: say('faultContact') };
    case 'website':
      return { field, text: say('faultTrap') };
    default:
      return undefined;
  }
}
