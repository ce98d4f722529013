import { composeStyle } from '../../../pages/page-style.ts';

/** How the pages look, which is how the notice page looks that leads here. */
export const PAGE_STYLE = composeStyle(
  `
nav button { display: inline-block; padding: .35rem 0; border: 0; background: none; color: var(--link); font: inherit;
  text-decoration: underline; cursor: pointer; }
.said { white-space: pre-wrap; }
.code { font: 600 1.05rem/1.5 ui-monospace, Consolas, monospace; word-break: break-all; user-select: all; }
.soft, .hint { color: var(--soft); font-size: .95rem; }
.box { margin: 1rem 0; padding: .75rem 1rem; border-left: .3rem solid var(--band); background: var(--calm); }
.box h2 { margin: 0 0 .25rem; }
.faults { border-color: var(--fault); }
.field { margin: 1.25rem 0; padding: 0; border: 0; min-width: 0; }
.wrong { padding-left: .75rem; border-left: .3rem solid var(--fault); }
.fault { color: var(--fault); font-weight: 600; }
label, legend { font-weight: 600; padding: 0; }
.choice { display: flex; gap: .6rem; align-items: flex-start; padding: .35rem 0; }
.choice label { font-weight: 400; }
.choice input { flex: none; width: 1.35rem; height: 1.35rem; margin: .1rem 0 0; accent-color: var(--fill); }
.hint, .fault { margin: .15rem 0 .35rem; }
input:not([type=radio], [type=checkbox]), textarea {
  width: 100%; padding: .55rem .65rem; border: 1px solid var(--edge); border-radius: .25rem; background: var(--sheet);
  color: var(--text); font: inherit;
}
textarea { resize: vertical; }
[aria-invalid] { border-color: var(--fault) !important; }
.send { padding: .65rem 1.2rem; border: 0; border-radius: .25rem; background: var(--fill); color: var(--on-fill); font: inherit;
  font-weight: 600; cursor: pointer; }
.trap { position: absolute; left: -9999px; }
@media print { form { display: none; } }
`,
  'self',
);
