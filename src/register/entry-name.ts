import { domainToASCII } from 'node:url';

/** Longest dotted name that fits the 255 octets of the wire form (RFC 1035 §3.1). */
export const NAME_MAX_LENGTH = 253;

/** Longest label (RFC 1035 §2.3.4). */
export const LABEL_MAX_LENGTH = 63;

/** The canonical spelling of the root. */
export const ROOT_NAME = '.';

const CANONICAL = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;

/** A last label that starts with a digit may be an IPv4 address in disguise (`0x7f.1`), which only the full rules see. */
const PLAIN = /^(?:[a-z0-9_-]+\.)*[a-z_-][a-z0-9_-]*$/;

/** Characters the IDNA conversion of a URL host would decode, map or stop at; none belongs in a name. */
const FOREIGN = /[\s%/\\:?#@[\]<>^|`"'*,;!$&()+={}~]/;

/** An IPv4 address as the canonical form spells it. */
const ADDRESS = /^\d+\.\d+\.\d+\.\d+$/;

/**
 * Returns the canonical form of a name as an officer wrote it: A-labels (UTS 46), lower-case, no dot at the end; `.` for
 * the root. Returns `undefined` for what is not a name at all. Lengths are not checked here: an over-long name is one
 * refused entry, not a void notice (see `fitsWire`).
 */
export function canonicaliseName(raw: string): string | undefined {
  if (isPlainName(raw)) return raw;
  if (raw === ROOT_NAME) return ROOT_NAME;
  if (FOREIGN.test(raw)) return undefined;
  const ascii = domainToASCII(raw.endsWith('.') ? raw.slice(0, -1) : raw);
  return CANONICAL.test(ascii) ? ascii : undefined;
}

/**
 * Whether `name` is canonical for certain without an IDNA conversion: lower-case letters, digits, hyphen and underscore,
 * no address. An A-label is taken as it comes: DNS carries false ones too. Cheap, and true for nearly every entry of a list.
 */
export function isPlainName(name: string): boolean {
  return PLAIN.test(name);
}

/** Whether a canonical name has no label and no total length that the wire form cannot hold. */
export function fitsWire(name: string): boolean {
  if (name.length > NAME_MAX_LENGTH) return false;
  if (name.length <= LABEL_MAX_LENGTH) return true;
  return name.split('.').every((label) => label.length <= LABEL_MAX_LENGTH);
}

/** Whether a canonical name is an IPv4 address; IPv6 never passes `canonicaliseName`. */
export function isAddress(name: string): boolean {
  return ADDRESS.test(name);
}

/** Whether `name` lies strictly below `ancestor`, both canonical. */
export function isBelow(name: string, ancestor: string): boolean {
  return name.length > ancestor.length && name.endsWith(ancestor) && name[name.length - ancestor.length - 1] === '.';
}

/** Yields the names above `name`, nearest first, down to its last label: `a.b.c` gives `b.c`, `c`. */
export function* ancestorsOf(name: string): Generator<string> {
  for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) yield name.slice(dot + 1);
}
