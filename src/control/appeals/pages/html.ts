import { escapeHtml, toPrintableLines } from '../../../pages/safe-text.ts';

/** Markup. Whatever of it is no literal of this folder was escaped. */
export class Html {
  readonly markup: string;

  constructor(markup: string) {
    this.markup = markup;
  }
}

/** What may stand in a template: text is escaped, `undefined` and `false` are nothing. */
export type Part = Html | string | number | false | undefined | readonly Part[];

/**
 * Composes markup from a template. Text in it comes out as text, inside an element as well as inside a quoted attribute; every
 * attribute with a value in it must be quoted.
 */
export function html(literals: TemplateStringsArray, ...parts: Part[]): Html {
  return new Html(literals.map((literal, at) => literal + composePart(parts[at])).join(''));
}

function composePart(part: Part): string {
  if (part === undefined || part === false) return '';
  if (part instanceof Html) return part.markup;
  return typeof part === 'object' ? part.map(composePart).join('') : escapeText(String(part));
}

/** Returns text as HTML. Misleading characters show as U+FFFD: whoever wrote them by mistake sees where they are. */
export function escapeText(text: string): string {
  return escapeHtml(toPrintableLines(text));
}
