import { toPrintable } from '../../pages/safe-text.ts';

/** What is shown of one value: addresses may have thousands of characters, and a page has an end. */
const MAX_SHOWN_CHARACTERS = 250;

/** Returns `text` as `toPrintable` does, and cut where it is too long to be shown. */
export function toShortPrintable(text: string): string {
  if (text.length <= MAX_SHOWN_CHARACTERS) return toPrintable(text);
  return `${toPrintable(text.slice(0, MAX_SHOWN_CHARACTERS)).trimEnd()}…`;
}

const LINK_SCHEMES = ['https:', 'http:', 'tel:', 'mailto:'];

/**
 * Returns `url` in its normal form when a link may lead there, else `undefined`: other schemes run code or open programs, and
 * a user name in front of the host makes one host look like another.
 */
export function toLink(url: string | undefined): string | undefined {
  const parsed = url === undefined ? null : URL.parse(url);
  if (parsed === null || !LINK_SCHEMES.includes(parsed.protocol)) return undefined;
  return parsed.username === '' && parsed.password === '' ? parsed.href : undefined;
}
