import type { DohStatus } from '../../metrics/encrypted-counters.ts';
import { MAX_STREAM_QUERY_BYTES } from '../stream-exchange.ts';

/** The media type of DNS messages (RFC 8484 §6). */
export const DNS_MESSAGE = 'application/dns-message';

/** What an HTTP request asks of DoH: a query in the URL, a query in a body to come, or an error. */
export type DohRequest = { query: Buffer } | { body: true } | { status: DohStatus };

/** Octets of a request's headers: the longest query in base64url, and room for what browsers send. */
export const MAX_HEADER_BYTES = 12_288;
export const MAX_HEADER_FIELDS = 48;

const OVERSIZED = { status: 413 } as const;
const BASE64URL = /^[\w-]+$/;
/** Characters of base64url that hold the longest query. */
const MAX_ENCODED = Math.ceil((MAX_STREAM_QUERY_BYTES * 4) / 3);

/**
 * Reads method, target and headers of a request for DoH at `path` (RFC 8484 §4.1): 404 for another path, 405 for another
 * method, 415 for another type of body, 413 for a query too long, 400 for one that is not base64url without padding.
 */
export function readDohRequest(
  path: string,
  method: string | undefined,
  target: string | undefined,
  contentType: string | undefined,
  contentLength: string | undefined,
): DohRequest {
  if (target === undefined || !target.startsWith(path)) return { status: 404 };
  if (target.length > path.length && target.charCodeAt(path.length) !== 0x3f) return { status: 404 };
  if (method === 'GET') return readQuery(target, path.length + 1);
  if (method !== 'POST') return { status: 405 };
  if (contentType === undefined || !isDnsMessage(contentType)) return { status: 415 };
  return contentLength !== undefined && Number(contentLength) > MAX_STREAM_QUERY_BYTES ? OVERSIZED : { body: true };
}

/** Reads the variable `dns` of the URL's query, which starts at `at`. */
function readQuery(target: string, at: number): DohRequest {
  const variables = target.slice(at);
  const found = variables.startsWith('dns=') ? 4 : variables.indexOf('&dns=') + 5;
  if (found === 4 && !variables.startsWith('dns=')) return { status: 400 };
  const end = variables.indexOf('&', found);
  const encoded = variables.slice(found, end < 0 ? undefined : end);
  if (encoded.length > MAX_ENCODED) return OVERSIZED;
  // One character over a multiple of four stands for no octet.
  if (!BASE64URL.test(encoded) || encoded.length % 4 === 1) return { status: 400 };
  return { query: Buffer.from(encoded, 'base64url') };
}

/** Whether a Content-Type names the media type, with any parameters, in any case. */
function isDnsMessage(contentType: string): boolean {
  if (contentType === DNS_MESSAGE) return true;
  return contentType.split(';', 1)[0]!.trim().toLowerCase() === DNS_MESSAGE;
}

/** Gathers a body up to the longest query; more makes it void. */
export class QueryBody {
  #parts: Buffer[] = [];
  #sizeBytes = 0;

  /** Adds a part; false when the body is too long by now. */
  add(part: Buffer): boolean {
    this.#sizeBytes += part.length;
    if (this.#sizeBytes > MAX_STREAM_QUERY_BYTES) return false;
    this.#parts.push(part);
    return true;
  }

  get whole(): Buffer {
    return this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
  }
}
