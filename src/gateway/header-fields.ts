/**
 * Which fields go on to the other side. Everything else keeps its order, its spelling and its repetitions, in both directions.
 * `Via` and `X-Forwarded-For` are not added: servers answer a request with Via differently (nginx sends it nothing compressed
 * by default), and no client's address leaves the gateway.
 */

/** Fields of one connection only (RFC 9110 §7.6.1), and `Expect`, which the gateway answers itself. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'expect',
]);

/** Fields that Connection cannot take away: without them a request means something else. */
const END_TO_END = new Set(['host', 'content-length', 'content-type', 'cache-control', 'authorization', 'cookie']);

/** Lengths of the names above, so that most fields need no lower case. */
const HOP_LENGTHS = new Set([...HOP_BY_HOP, 'host', 'trailer', 'content-length'].map((name) => name.length));

/** Returns the value of a field, several joined (RFC 9110 §5.3). Node's `headers` would make an object of all of them for it. */
export function findField(rawHeaders: readonly string[], lowerName: string): string | undefined {
  let found: string | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (name.length !== lowerName.length || name.toLowerCase() !== lowerName) continue;
    found = found === undefined ? rawHeaders[i + 1]! : `${found}, ${rawHeaders[i + 1]!}`;
  }
  return found;
}

/** Returns the names that a Connection field says belong to this connection, or undefined when there is none of note. */
function namedByConnection(rawHeaders: readonly string[]): Set<string> | undefined {
  let named: Set<string> | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue;
    const value = rawHeaders[i + 1]!.toLowerCase();
    if (value === 'keep-alive' || value === 'close') continue;
    for (const token of value.split(',')) {
      const field = token.trim();
      if (END_TO_END.has(field)) continue;
      named ??= new Set();
      named.add(field);
    }
  }
  return named;
}

/**
 * Returns the fields of a request for its origin, beginning with `host`. `Trailer` goes, because trailers of requests do (RFC
 * 9110 §6.5.1 allows it); trailers of answers are asked for when the client did.
 */
export function composeRequestHeaders(rawHeaders: readonly string[], host: string): string[] {
  const named = namedByConnection(rawHeaders);
  const kept = ['host', host];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (HOP_LENGTHS.has(name.length)) {
      const lower = name.toLowerCase();
      if (lower === 'te' && /(^|,)\s*trailers\s*($|[,;])/i.test(rawHeaders[i + 1]!)) kept.push('TE', 'trailers');
      if (HOP_BY_HOP.has(lower) || lower === 'host' || lower === 'trailer') continue;
    }
    if (named?.has(name.toLowerCase())) continue;
    kept.push(name, rawHeaders[i + 1]!);
  }
  return kept;
}

/**
 * Returns the fields of an answer for the client. `Trailer` is kept only where trailers can follow, and a length not where there
 * must be none (RFC 9110 §8.6).
 */
export function composeResponseHeaders(
  rawHeaders: readonly string[],
  status: number,
  mayHaveTrailers: boolean,
): string[] {
  const named = namedByConnection(rawHeaders);
  const kept: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (HOP_LENGTHS.has(name.length)) {
      const lower = name.toLowerCase();
      if (HOP_BY_HOP.has(lower) || (lower === 'trailer' && !mayHaveTrailers)) continue;
      if (lower === 'content-length' && (status < 200 || status === 204)) continue;
    }
    if (named?.has(name.toLowerCase())) continue;
    kept.push(name, rawHeaders[i + 1]!);
  }
  return kept;
}
