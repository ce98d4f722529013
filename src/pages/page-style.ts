import { createHash } from 'node:crypto';

/**
 * How pages look. One column that fits a phone; system fonts, since nothing may be fetched; light and dark as the visitor has
 * it; every pair of colours has a contrast of 4.5 or more (WCAG 1.4.3), borders of fields of 3 (1.4.11), which tests measure.
 */
const COMMON = `
:root {
  color-scheme: light dark;
  --page: #f4f5f7; --sheet: #fff; --text: #1b2430; --soft: #4a5565; --line: #d3d8df; --edge: #6b7686; --band: #1f3a5f;
  --link: #0b4f9e; --fill: #1f4f8a; --on-fill: #fff; --fault: #a3161c; --calm: #eef3f9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11161d; --sheet: #1a212b; --text: #e7ebf0; --soft: #aeb8c5; --line: #36404d; --edge: #8994a3; --band: #7ea6d9;
    --link: #8ebcf5; --fill: #9cc3f5; --on-fill: #0d1620; --fault: #ff9b94; --calm: #212b38;
  }
}
@media print {
  :root {
    --page: #fff; --sheet: #fff; --text: #000; --soft: #333; --line: #999; --band: #000; --link: #000; --fill: #fff;
    --on-fill: #000; --calm: #fff;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text); overflow-wrap: anywhere;
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans Tamil", "Nirmala UI", "Noto Sans SC",
    "PingFang SC", "Microsoft YaHei", sans-serif;
}
a { color: var(--link); text-underline-offset: .15em; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
header, main, footer { max-width: 44rem; margin: 0 auto; padding: 0 1.25rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: 0; padding: .5rem 0; list-style: none; font-size: .95rem; }
nav a { display: inline-block; padding: .35rem 0; }
nav [aria-current] { color: var(--text); font-weight: 600; text-decoration: none; border-bottom: 2px solid var(--band); }
main { background: var(--sheet); border: 1px solid var(--line); border-top: .3rem solid var(--band); padding-bottom: 1.5rem; }
h1 { margin: 1.5rem 0 .5rem; font-size: 1.6rem; line-height: 1.3; }
h2 { margin: 1.75rem 0 .5rem; font-size: 1.1rem; line-height: 1.4; }
p { margin: .5rem 0; }
dl { margin: 0; }
dl div { padding: .5rem 0; border-top: 1px solid var(--line); }
dl div:last-child { border-bottom: 1px solid var(--line); }
dt { color: var(--soft); font-size: .9rem; }
dd { margin: 0; }
main ul, main ol { margin: .5rem 0; padding-left: 1.25rem; }
main li { padding: .2rem 0; }
footer { padding-top: .75rem; padding-bottom: 2rem; color: var(--soft); font-size: .9rem; }
@media (min-width: 40rem) {
  main { padding-left: 2.5rem; padding-right: 2.5rem; }
  header, footer { padding-left: 2.5rem; padding-right: 2.5rem; }
  dl div { display: grid; grid-template-columns: 14rem 1fr; gap: 1.5rem; align-items: baseline; }
}
@media (max-width: 39.99rem) { main { border-left: 0; border-right: 0; } }
@media print {
  nav { display: none; }
  main { border: 0; padding: 0; }
  dl div, li { break-inside: avoid; }
}
`;

/** A style sheet on one line, and the policy of pages that have it. */
export interface PageStyle {
  readonly sheet: string;
  /** Content-Security-Policy (CSP Level 3): nothing is loaded, run or framed, and this one style sheet applies. */
  readonly policy: string;
}

/** Puts what all pages share before the rules of some, and says where their forms may go: nowhere, or back here. */
export function composeStyle(rules: string, formAction: 'none' | 'self'): PageStyle {
  const sheet = `${COMMON}${rules}`.replace(/\s+/g, ' ').trim();
  const policy = [
    "default-src 'none'",
    `style-src 'sha256-${createHash('sha256').update(sheet).digest('base64')}'`,
    "base-uri 'none'",
    `form-action '${formAction}'`,
    "frame-ancestors 'none'",
  ].join('; ');
  return { sheet, policy };
}
