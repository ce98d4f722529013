import { z } from 'zod';
import { chooseLanguage, type Language } from '../../../pages/language.ts';
import type { FormFields } from '../../http/form-body.ts';
import type { RefusedCall } from '../../http/route.ts';
import type { ControlServices } from '../../services.ts';

const KEY_BYTES = 16;

/** What all pages have in common. Links come with anything behind `?`, and what is not ours is passed over. */
export const PAGE = { tag: 'Appeal pages', query: z.record(z.string(), z.unknown()) } as const;

/**
 * Makes a key for one showing of a form. Whoever sends it twice, by a double click or by loading the answer again, gets the
 * first answer again: the secret of an appeal would be lost otherwise.
 */
export function createKey({ random }: ControlServices): string {
  return Buffer.from(random(KEY_BYTES)).toString('base64url');
}

/** The language of the switch, else the one that the form was in, else the browser's. */
export function languageOf({ headers, query, fields }: Pick<RefusedCall, 'headers' | 'query' | 'fields'>): Language {
  const { 'accept-language': accepted } = headers;
  const chosen = fields.lang ?? fields.language ?? readParameter(query, 'lang');
  return chooseLanguage(typeof accepted === 'string' ? accepted : undefined, chosen);
}

/** The notice that a link to the form names. */
export function noticeOf(query: unknown): FormFields {
  const notice = readParameter(query, 'notice');
  return notice === undefined ? {} : { notice };
}

/** Of a parameter that is given twice the first counts. */
function readParameter(query: unknown, name: string): string | undefined {
  const value = Object.hasOwn(query as object, name) ? (query as Record<string, unknown>)[name] : undefined;
  const [first] = [value].flat();
  return typeof first === 'string' ? first : undefined;
}
