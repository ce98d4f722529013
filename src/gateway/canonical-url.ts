/**
 * One form for every spelling of a page's address. It is what the WHATWG URL parser makes of it, and then:
 *
 * - percent-encoding: hex digits in capitals; characters that need no encoding (RFC 3986 §2.3, and `!'()*`, which
 *   `encodeURIComponent` leaves alone and sites link to in both spellings) are decoded; the other reserved characters stay as
 *   they are, so `%2F` is not `/`; everything else is encoded, a stray `%` as well. Nothing is decoded twice.
 * - an empty query is no query; a fragment is never part of an address; userinfo neither.
 * - the trailing dot of the host goes, and its port when it is the scheme's own.
 * - slashes that follow one another in a path count as one. WHATWG tells `/a//b` and `/a/b` apart, but nginx and Apache serve
 *   the same for both, so a doubled slash would be a way round every rule.
 */

/** Where a page is. */
export interface PageAddress {
  /** A-labels, lower case, no trailing dot. */
  readonly host: string;
  /** Undefined when it is the default port of the scheme. */
  readonly port: number | undefined;
  /**
   * The canonical path; two when the request is ambiguous. `/a//../b` is `/a/b` to a WHATWG parser and `/b` to a server that
   * merges slashes first. No browser sends it, and it counts as both, or it would be a way round.
   */
  readonly paths: readonly string[];
  /** Canonical query without the question mark; empty when there is none. */
  readonly query: string;
}

/** Returns the canonical address of an http or https URL, or undefined when it is none. */
export function canonicalizeUrl(url: string): PageAddress | undefined {
  if (!URL.canParse(url)) return undefined;
  const parsed = new URL(url);
  if ((parsed.protocol !== 'http:' && parsed.protocol !== 'https:') || parsed.hostname === '') return undefined;
  const host = withoutDot(parsed.hostname);
  if (!LABELS.test(host)) return undefined;
  const port = parsed.port === '' ? undefined : Number(parsed.port);
  return { host, port, paths: [canonicalizePath(parsed.pathname)], query: canonicalizeQuery(parsed.search) };
}

/** A host of letters, digits and hyphens in lower case with no A-label needs no parser; a last label of digits is no name. */
const PLAIN_HOST = /^(?!.*xn--)(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z](?:[a-z0-9-]*[a-z0-9])?$/;

/** No label is empty. */
const LABELS = /^[^.]+(?:\.[^.]+)*$/;

/** What can stand in a host that a client sent; raw octets above 127 are UTF-8. No `@`, `/`, `?`, `#`, `\` or `:`. */
const HOST_TEXT = /^[!$&'()*+,;=%A-Za-z0-9._~\x80-\uffff-]+$/;

/** Returns a host name in canonical form, or undefined when it is none. Addresses are none: no rule names one. */
export function canonicalizeHost(text: string): string | undefined {
  if (text.length > 253) return text.length > 1024 ? undefined : parseHost(text);
  return PLAIN_HOST.test(text) ? text : parseHost(text);
}

function parseHost(text: string): string | undefined {
  if (!HOST_TEXT.test(text)) return undefined;
  const url = `http://${text}/`;
  if (!URL.canParse(url)) return undefined;
  const host = withoutDot(new URL(url).hostname);
  return LABELS.test(host) && !/^[0-9.]+$/.test(host) ? host : undefined;
}

function withoutDot(host: string): string {
  return host.endsWith('.') ? host.slice(0, -1) : host;
}

/** A path and query that are their own canonical form: nothing encoded, no dot segment, no doubled slash. */
const PLAIN_TARGET = /^(?:\/(?!\/|\.)[A-Za-z0-9._~!'()*:@$&+,;=-]*)+(?:\?[A-Za-z0-9._~!'()*:@$&+,;=/?-]+)?$/;

/**
 * Returns the address that a request's target (origin-form: it begins with a slash) asks for on a canonical host.
 * Octets above 127 are taken as they are, one character an octet, as Node gives them.
 */
export function canonicalizeTarget(host: string, port: number | undefined, target: string): PageAddress {
  const mark = target.indexOf('?');
  if (PLAIN_TARGET.test(target)) {
    if (mark < 0) return { host, port, paths: [target], query: '' };
    return { host, port, paths: [target.slice(0, mark)], query: target.slice(mark + 1) };
  }
  const path = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? '' : target.slice(mark);
  const first = parseTarget(path, query);
  const merged = path.replace(/[/\\]{2,}/g, '/');
  const paths = [canonicalizePath(first.pathname)];
  const second = merged === path ? paths[0]! : canonicalizePath(parseTarget(merged, '').pathname);
  if (second !== paths[0]) paths.push(second);
  return { host, port, paths, query: canonicalizeQuery(first.search) };
}

function parseTarget(path: string, query: string): URL {
  return new URL(`http://h${escapeOctets(path)}${escapeOctets(query)}`);
}

/** Node gives one character for an octet; a URL parser would take it for the Unicode character. */
function escapeOctets(text: string): string {
  return text.replace(/[\x80-\xff]/g, (octet) => `%${octet.charCodeAt(0).toString(16)}`);
}

function canonicalizePath(pathname: string): string {
  return normalizeEncoding(pathname).replace(/\/{2,}/g, '/');
}

function canonicalizeQuery(search: string): string {
  return normalizeEncoding(search.slice(1));
}

const ESCAPE_OR_OTHER = /%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~!'()*:/?#[\]@$&+,;=-]/g;
const NEEDS_NO_ESCAPE = /[A-Za-z0-9._~!'()*-]/;

/** Makes capitals of hex digits, decodes what needs no encoding, and encodes what is neither that nor reserved. */
function normalizeEncoding(text: string): string {
  return text.replace(ESCAPE_OR_OTHER, (found) => {
    // A stray '%' too: with what is decoded behind it, it would make an escape that nobody wrote.
    if (found.length < 3) return `%${found.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
    const character = String.fromCharCode(Number.parseInt(found.slice(1), 16));
    return NEEDS_NO_ESCAPE.test(character) ? character : found.toUpperCase();
  });
}
