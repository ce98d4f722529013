/** What a field of a request is to this server, found out once when the field is decoded. */
export const FIELD_KIND = {
  /** Of no interest. */
  OTHER: 0,
  /** Not allowed in HTTP/2 (RFC 9113 §8.2): makes the request malformed. */
  FLAWED: 1,
  METHOD: 2,
  SCHEME: 3,
  AUTHORITY: 4,
  PATH: 5,
  CONTENT_TYPE: 6,
  CONTENT_LENGTH: 7,
  TE: 8,
} as const;
export type FieldKind = (typeof FIELD_KIND)[keyof typeof FIELD_KIND];

/** A header field as HPACK carries it. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
  /** What it counts for in tables and lists (RFC 7541 §4.1). */
  readonly sizeBytes: number;
  /** The kind by name alone, for fields that take the name over. */
  readonly nameKind: FieldKind;
  readonly kind: FieldKind;
}

/** Octets that a field counts for besides its name and value. */
const FIELD_OVERHEAD_BYTES = 32;

const KINDS = new Map<string, FieldKind>([
  [':method', FIELD_KIND.METHOD],
  [':scheme', FIELD_KIND.SCHEME],
  [':authority', FIELD_KIND.AUTHORITY],
  [':path', FIELD_KIND.PATH],
  ['content-type', FIELD_KIND.CONTENT_TYPE],
  ['content-length', FIELD_KIND.CONTENT_LENGTH],
  ['te', FIELD_KIND.TE],
  // They are about one connection of HTTP/1.1.
  ['connection', FIELD_KIND.FLAWED],
  ['proxy-connection', FIELD_KIND.FLAWED],
  ['keep-alive', FIELD_KIND.FLAWED],
  ['transfer-encoding', FIELD_KIND.FLAWED],
  ['upgrade', FIELD_KIND.FLAWED],
]);

/** Whether an octet may be in a name: what a token has, but no capitals. */
const IS_NAME_OCTET = markOctets("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz");
const SPACE = 0x20;
const TAB = 0x09;

/** Makes a field of texts that are as they should be. */
export function createField(name: string, value: string, nameKind = kindOfName(name), isFlawed = false): HeaderField {
  const sizeBytes = name.length + value.length + FIELD_OVERHEAD_BYTES;
  return { name, value, sizeBytes, nameKind, kind: isFlawed ? FIELD_KIND.FLAWED : kindOfField(nameKind, value) };
}

/** The kind of fields with a name made of `octets[at, at + length)`. */
export function classifyName(name: string, octets: Uint8Array, at: number, length: number): FieldKind {
  const known = KINDS.get(name);
  if (known !== undefined) return known;
  if (length === 0) return FIELD_KIND.FLAWED;
  for (let i = at; i < at + length; i++) if (IS_NAME_OCTET[octets[i]!] === 0) return FIELD_KIND.FLAWED;
  return FIELD_KIND.OTHER;
}

/** Whether `octets[at, at + length)` may be a value (RFC 9113 §8.2.1): no NUL, CR or LF, no white space around it. */
export function isFieldValue(octets: Uint8Array, at: number, length: number): boolean {
  if (length === 0) return true;
  if (isWhiteSpace(octets[at]!) || isWhiteSpace(octets[at + length - 1]!)) return false;
  for (let i = at; i < at + length; i++) {
    const octet = octets[i]!;
    if (octet <= 0x0d && (octet === 0x0d || octet === 0x0a || octet === 0)) return false;
  }
  return true;
}

function kindOfName(name: string): FieldKind {
  return KINDS.get(name) ?? (name.startsWith(':') ? FIELD_KIND.FLAWED : FIELD_KIND.OTHER);
}

/** TE may say `trailers` and nothing else (RFC 9113 §8.2.2). */
function kindOfField(nameKind: FieldKind, value: string): FieldKind {
  if (nameKind !== FIELD_KIND.TE) return nameKind;
  return value === 'trailers' ? FIELD_KIND.OTHER : FIELD_KIND.FLAWED;
}

function isWhiteSpace(octet: number): boolean {
  return octet === SPACE || octet === TAB;
}

function markOctets(text: string): Uint8Array {
  const marks = new Uint8Array(256);
  for (let i = 0; i < text.length; i++) marks[text.charCodeAt(i)] = 1;
  return marks;
}
