/** What is shown for a character that makes text read otherwise than it is. */
export const HIDDEN_MARK = '\ufffd';

/**
 * Characters that make text read otherwise than it is written: controls, line and paragraph separators, marks and overrides
 * of direction, what does not show, halves of surrogate pairs. Joiners stay, Tamil needs them.
 */
const MISLEADING =
  /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}\p{Surrogate}\u00ad\u180e\u200b\u2060-\u2064\ufeff\ufff9-\ufffb]/gu;

/** Returns `text` on one line, with every misleading character shown as U+FFFD. */
export function toPrintable(text: string): string {
  return text.replace(MISLEADING, HIDDEN_MARK);
}

/** Returns `text` as `toPrintable` does, but for tabs and line ends, which stay. */
export function toPrintableLines(text: string): string {
  return text.replace(MISLEADING, (character) => (/[\t\n\r]/.test(character) ? character : HIDDEN_MARK));
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
