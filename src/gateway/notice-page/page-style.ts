import { composeStyle } from '../../pages/page-style.ts';

/** How the page looks; it has no form. */
export const PAGE_STYLE = composeStyle(
  `
.lead { font-size: 1.05rem; }
.name { font-size: 1.1rem; font-weight: 600; }
.address { word-break: break-all; }
.soft { color: var(--soft); white-space: nowrap; }
.category { font-weight: 600; }
.form { display: inline-block; margin: .4rem 0; padding: .6rem 1.1rem; border-radius: .25rem; background: var(--fill); color: var(--on-fill);
  font-weight: 600; text-decoration: none; }
footer h2 { margin: .5rem 0; font-size: 1rem; color: var(--text); }
@media print {
  .form { padding: 0; }
  main a[href^="http"]::after { content: " (" attr(href) ")"; font-weight: 400; }
}
`,
  'none',
);
