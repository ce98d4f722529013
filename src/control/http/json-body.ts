import type { FastifyInstance } from 'fastify';
import { WartaError } from '../../base/errors.ts';
import { decodeUtf8 } from '../../register/canonical.ts';

/** Deepest nesting of a JSON body: what walks through one later goes down as many calls. */
const DEPTH_MAX = 32;

/**
 * Makes `app` take JSON bodies and no others: in UTF-8 (RFC 8259 §8.1), nested at most 32 deep, without `__proto__`. No body
 * at all is fine whatever content type announces it; the route's schema says whether one is needed.
 */
export function takeJsonBodies(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if (body.length === 0) return done(null, undefined);
    const text = decodeUtf8(body);
    if (text === undefined) return done(new WartaError('request-invalid', 'body: is not UTF-8'), undefined);
    if (measureDepth(body) > DEPTH_MAX) {
      return done(new WartaError('request-invalid', `body: is nested more than ${DEPTH_MAX} deep`), undefined);
    }
    return parse(request, text, done);
  });
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** `[` and `{` differ in this bit alone, and so do `]` and `}`. */
const CURLY = 0x20;
const OPENING = 0x7b;
const CLOSING = 0x7d;

/** Counts how deep brackets are nested outside strings; of bytes that are no JSON, anything. */
function measureDepth(body: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let isText = false;
  for (let at = 0; at < body.length; at++) {
    const byte = body[at]!;
    if (isText) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) isText = false;
    } else if (byte === QUOTE) isText = true;
    else if ((byte | CURLY) === OPENING) deepest = Math.max(deepest, ++depth);
    else if ((byte | CURLY) === CLOSING) depth--;
  }
  return deepest;
}
