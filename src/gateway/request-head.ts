import type { IncomingMessage } from 'node:http';
import { canonicalizeHost } from './canonical-url.ts';

/**
 * Judges the head of a request before anything acts on it. Node's parser is strict already (no bare LF, no obs-fold, one
 * Content-Length, none beside Transfer-Encoding); what is left here are the cases where two servers could still understand
 * different things.
 */

/** Why a request is refused, with the status to say so. */
export interface Refusal {
  readonly status: 400 | 405 | 421 | 501;
  readonly reason: string;
}

/** Body of a request as it was framed: its length, or `chunked`. */
export type BodyFraming = number | 'chunked';

/** A request that means one thing only. */
export interface RequestHead {
  /** Canonical host. */
  readonly host: string;
  /** Port of the Host field; undefined when it is the scheme's own, 80. */
  readonly port: number | undefined;
  /** Target in origin-form, as the client wrote it. */
  readonly target: string;
  readonly body: BodyFraming;
}

const refuse = (status: Refusal['status'], reason: string): Refusal => ({ status, reason });

const NO_HOST = refuse(400, 'one Host field is needed');
const BAD_HOST = refuse(400, 'the Host field is no host name');
const BAD_TARGET = refuse(400, 'the request target is none');
const BAD_FRAMING = refuse(400, 'the length of the body is ambiguous');
const UNKNOWN_CODING = refuse(501, 'the only transfer coding is chunked');
const REFUSED_METHOD = refuse(405, 'CONNECT and TRACE are not served');
const OTHER_SCHEME = refuse(421, 'only http is served here');

/** Reads the host, target and framing of a request, or says why not. */
export function readRequestHead(request: IncomingMessage): RequestHead | Refusal {
  const { method, url = '', rawHeaders } = request;
  if (method === 'TRACE' || method === 'CONNECT') return REFUSED_METHOD;
  let host: string | undefined;
  let length: string | undefined;
  let coding: string | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (name.length === 4 && name.toLowerCase() === 'host') {
      if (host !== undefined) return NO_HOST;
      host = rawHeaders[i + 1]!;
    } else if (name.length === 14 && name.toLowerCase() === 'content-length') {
      if (length !== undefined) return BAD_FRAMING;
      length = rawHeaders[i + 1]!;
    } else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') {
      if (coding !== undefined) return BAD_FRAMING;
      coding = rawHeaders[i + 1]!;
    }
  }
  const body = readFraming(length, coding, request.httpVersion);
  if (typeof body === 'object') return body;
  return readTarget(url, host, body);
}

function readFraming(length: string | undefined, coding: string | undefined, version: string): BodyFraming | Refusal {
  if (coding !== undefined) {
    // A server of HTTP/1.0 does not know chunks, and so takes the next request for the body (RFC 9112 §6.1).
    if (length !== undefined || version !== '1.1') return BAD_FRAMING;
    return coding.toLowerCase() === 'chunked' ? 'chunked' : UNKNOWN_CODING;
  }
  if (length === undefined) return 0;
  return /^\d{1,15}$/.test(length) ? Number(length) : BAD_FRAMING;
}

/** Control characters, a space or a fragment are in no target; an octet above 127 is in many. */
const FORBIDDEN_IN_TARGET = /[^!"$-~\x80-\xff]/;
const ABSOLUTE_FORM = /^([a-z][a-z0-9+.-]*):\/\/([^/?\\]*)(.*)$/i;

/**
 * Takes host and target apart. The authority of an absolute-form target goes before the Host field (RFC 9112 §3.2.2), and the
 * origin gets that one as its Host. Asterisk-form is refused: it names no page.
 */
function readTarget(url: string, hostField: string | undefined, body: BodyFraming): RequestHead | Refusal {
  if (hostField === undefined) return NO_HOST;
  if (FORBIDDEN_IN_TARGET.test(url)) return BAD_TARGET;
  let authority = hostField;
  let target = url;
  if (url[0] !== '/') {
    const match = ABSOLUTE_FORM.exec(url);
    if (match === null) return BAD_TARGET;
    if (match[1]!.toLowerCase() !== 'http') return OTHER_SCHEME;
    if (readAuthority(hostField) === undefined && hostField !== '') return BAD_HOST;
    // Userinfo in a request is an attempt to deceive (RFC 9110 §4.2.4); readAuthority takes no '@'.
    authority = match[2]!;
    target = match[3]![0] === '/' ? match[3]! : `/${match[3]!}`;
  }
  const read = readAuthority(authority);
  return read === undefined ? BAD_HOST : { ...read, target, body };
}

/** Reads `host` or `host:port`. Octets above 127 are UTF-8, one character an octet. */
function readAuthority(text: string): { host: string; port: number | undefined } | undefined {
  const colon = text.indexOf(':');
  const port = colon < 0 ? '' : text.slice(colon + 1);
  if (!/^\d{0,5}$/.test(port) || Number(port) > 65_535) return undefined;
  const name = colon < 0 ? text : text.slice(0, colon);
  const host = canonicalizeHost(/[\x80-\xff]/.test(name) ? Buffer.from(name, 'latin1').toString() : name);
  if (host === undefined) return undefined;
  return { host, port: port === '' || Number(port) === 80 ? undefined : Number(port) };
}
