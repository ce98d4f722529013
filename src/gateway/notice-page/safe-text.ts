/**
 * Characters that make text read otherwise than it is written: controls, line and paragraph separators, marks and overrides
 * of direction, halves of surrogate pairs. Joiners stay, Tamil needs them.
 */
const MISLEADING =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu;

/** Returns `text` on one line, with every misleading character replaced by U+FFFD. */
export function toPrintable(text: string): string {
  return text.replace(MISLEADING, '\ufffd');
}

/** What is shown of one value: addresses may have thousands of characters, and a page has an end. */
const MAX_SHOWN_CHARACTERS = 250;

/** Returns `text` as `toPrintable` does, and cut where it is too long to be shown. */
export function toShortPrintable(text: string): string {
  if (text.length <= MAX_SHOWN_CHARACTERS) return toPrintable(text);
  return `${toPrintable(text.slice(0, MAX_SHOWN_CHARACTERS)).trimEnd()}…`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Returns `text` as HTML, for the inside of an element or of a quoted attribute. Everything that is no literal passes here. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]!);
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
