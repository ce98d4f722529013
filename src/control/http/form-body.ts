import type { FastifyInstance } from 'fastify';
import { WartaError } from '../../base/errors.ts';
import { decodeUtf8 } from '../../register/canonical.ts';

/** The fields of a form as they were filled in, by name; line ends are LF. */
export type FormFields = Readonly<Record<string, string>>;

/** Names of fields are ours. */
const NAME = /^[a-z]{1,20}$/;
const FIELDS_MAX = 32;

/**
 * Makes `app` take forms and nothing else. Fields come as an object, and stay in `request.fields` as they were filled in when
 * a schema makes something else of the body.
 */
export function takeFormBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>(
    'application/x-www-form-urlencoded',
    { parseAs: 'buffer' },
    async (request: { fields?: FormFields }, body: Buffer) => {
      request.fields = parseForm(body);
      return request.fields;
    },
  );
}

/**
 * Parses a form (application/x-www-form-urlencoded). Stricter than WHATWG URL §5.1, which reads anything as something: what
 * is no percent-encoded UTF-8 is refused, and so is a field that is given twice, of which two readers may take either.
 *
 * @throws {WartaError} `request-invalid`.
 */
export function parseForm(body: Uint8Array): FormFields {
  const text = decodeUtf8(body);
  if (text === undefined) throw new WartaError('request-invalid', 'body: is not UTF-8');
  const fields = new Map<string, string>();
  for (const pair of text === '' ? [] : text.split('&', FIELDS_MAX + 1)) {
    const end = pair.includes('=') ? pair.indexOf('=') : pair.length;
    const name = pair.slice(0, end);
    if (!NAME.test(name)) throw new WartaError('request-invalid', 'body: has a field that no form of ours has');
    if (fields.has(name)) throw new WartaError('request-invalid', `body: has the field ${name} twice`);
    if (fields.size === FIELDS_MAX) throw new WartaError('request-invalid', 'body: has too many fields');
    fields.set(name, decodeValue(pair.slice(end + 1)).replace(/\r\n?/g, '\n'));
  }
  return Object.fromEntries(fields);
}

function decodeValue(encoded: string): string {
  try {
    return decodeURIComponent(encoded.replaceAll('+', ' '));
  } catch (cause) {
    throw new WartaError('request-invalid', 'body: is not percent-encoded UTF-8', { cause });
  }
}
