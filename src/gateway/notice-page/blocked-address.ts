import { domainToASCII, domainToUnicode } from 'node:url';
import { toShortPrintable } from './shown-text.ts';

/** A blocked name or URL as the page shows it. */
export interface BlockedAddress {
  readonly kind: 'name' | 'url';
  /** The form for people: the host in Unicode. */
  readonly shown: string;
  /** The form with A-labels, when it is another. */
  readonly ascii?: string;
}

/** What the page shows: an address, or why there is none. Sealed addresses are never shown; of others none may be known. */
export type AddressOnPage = BlockedAddress | 'sealed' | 'unnamed';

/** Describes a name (A-labels or Unicode) or an absolute URL. What is neither is shown as it is. */
export function describeAddress(blocked: string): BlockedAddress {
  const start = /^[a-z][a-z0-9+.-]*:\/\//i.exec(blocked);
  if (start === null) return { kind: 'name', ...describeHost(blocked) };
  const url = URL.parse(blocked);
  if (url === null) return { kind: 'url', shown: toShortPrintable(blocked) };
  const { shown, ascii } = describeHost(url.hostname);
  if (ascii === undefined) return { kind: 'url', shown: toShortPrintable(url.href) };
  const rest = url.href.slice(url.href.indexOf(url.hostname) + url.hostname.length);
  return {
    kind: 'url',
    shown: toShortPrintable(`${url.protocol}//${shown}${rest}`),
    ascii: toShortPrintable(url.href),
  };
}

/** Both forms of a host name; one when they are the same, or when it is no valid name. */
function describeHost(name: string): Pick<BlockedAddress, 'shown' | 'ascii'> {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range is ASCII
  if (/^[\x00-\x7f]*$/.test(name) && !/xn--/i.test(name)) return { shown: toShortPrintable(name) };
  const unicode = domainToUnicode(name);
  const ascii = domainToASCII(name);
  return unicode === '' || ascii === '' || unicode === ascii
    ? { shown: toShortPrintable(name) }
    : { shown: toShortPrintable(unicode), ascii: toShortPrintable(ascii) };
}
