import { z } from 'zod';
import { text } from '../../../register/fields.ts';
import type { FormFields } from '../../http/form-body.ts';
import type { RefusedCall } from '../../http/route.ts';
import { MESSAGE_MAX_LENGTH, messageForm, referenceParams, withdrawForm } from '../appeal-forms.ts';
import { MessagesFull } from '../appellant-acts.ts';
import { wordProblem } from './filing-fields.ts';
import { type Fault, type FormState, findHidden, firstOfEach } from './form-fields.ts';
import { wordCount } from './time-wording.ts';

/** A message of 4000 characters has 36 kB in a form. */
export const STATUS_MAX_BYTES = 64 * 1024;
/** Longer than any secret. */
export const SECRET_MAX_LENGTH = 100;

const credentials = { reference: referenceParams.shape.reference, secret: text(SECRET_MAX_LENGTH) };

const formOf = <S extends z.ZodType>(schema: S) =>
  z
    .record(z.string(), z.string())
    .transform(composeCredentials)
    .pipe(schema as z.ZodType<z.output<S>, object>);

/** What is sent to see an appeal. */
export const lookFields = formOf(z.strictObject(credentials));

/** What is sent to write in an appeal. */
export const messageFields = formOf(z.strictObject({ ...credentials, text: messageForm.shape.text }));

/** What is sent to withdraw an appeal. */
export const withdrawFields = formOf(
  z.strictObject({ ...credentials, confirm: z.literal('yes'), reason: withdrawForm.shape.reason }),
);

/** Copied or typed from paper, a reference may come in small letters, and either with blanks around it. */
function composeCredentials({ key: _key, lang: _lang, language: _language, ...fields }: FormFields): object {
  const { reference, secret, reason } = fields;
  return {
    ...fields,
    reference: reference?.trim().toUpperCase(),
    secret: secret?.trim(),
    ...(reason?.trim() === '' && { reason: undefined }),
  };
}

/** Finds what is wrong with what was sent about an appeal. */
export function findStatusFaults(
  { problem, error }: RefusedCall,
  schema: z.ZodType,
  form: Omit<FormState, 'faults'>,
): Fault[] {
  const { say } = form;
  if (problem.status === 404) return [{ field: 'reference', text: say('faultReferenceUnknown') }];
  if (problem.code === 'forbidden') return [{ field: 'secret', text: say('faultSecretWrong') }];
  if (problem.code === 'appeal-state') return [{ text: say('stateChanged') }];
  if (error instanceof MessagesFull) return [{ text: say('messagesFull') }];
  const found = problem.status === 400 ? findInvalid(schema, form) : [];
  return found.length > 0 ? found : [{ text: wordProblem(problem.status, form) }];
}

/** Asks the schema again, which names the fields. Without a form there are none. */
function findInvalid(schema: z.ZodType, form: Omit<FormState, 'faults'>): Fault[] {
  if (Object.keys(form.fields).length === 0) return [];
  const { error } = schema.safeParse(form.fields);
  const invalid = (error?.issues ?? []).map(({ path }) => wordIssue(String(path[0]), form));
  return firstOfEach([
    ...findHidden(form, ['reference', 'secret', 'text', 'reason']),
    ...invalid.filter((fault) => fault !== undefined),
  ]);
}

function wordIssue(field: string, { say, fields, language }: Omit<FormState, 'faults'>): Fault | undefined {
  const isBlank = (fields[field] ?? '').trim() === '';
  const long = () => say('faultLong', { max: wordCount(MESSAGE_MAX_LENGTH, language) });
  switch (field) {
    case 'reference':
      return { field, text: say(isBlank ? 'faultReferenceMissing' : 'faultReferenceUnknown') };
    case 'secret':
      return { field, text: say(isBlank ? 'faultSecretMissing' : 'faultSecretWrong') };
    case 'text':
      return { field, text: isBlank ? say('faultMessageMissing') : long() };
    case 'reason':
      return { field, text: long() };
    case 'confirm':
      return { field, text: say('faultConfirm') };
    default:
      return undefined;
  }
}
