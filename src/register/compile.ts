import type { RuleTableBuilder } from '../rules/rule-table-builder.ts';
import { exclusionsOf, type FoldedNotice, type Window, windowsOf } from './fold.ts';
import { createGuard } from './guard.ts';
import type { Pack } from './pack.ts';

/** What the compiler needs of a rule table's builder. */
export type RuleSink = Pick<RuleTableBuilder, 'addNotice' | 'addRule'>;

/** An entry that is signed and in force, and yet makes no rule. */
export interface RefusedEntry {
  /** Reference of the notice. */
  readonly notice: string;
  /** Id of the entry. */
  readonly entry: string;
  readonly name: string;
  readonly reason: string;
}

/** What was compiled: rules of both actions, entries behind them, and what was refused. */
export interface Compilation {
  readonly rules: number;
  readonly entries: number;
  readonly refused: readonly RefusedEntry[];
}

/** How often progress is told. */
const PROGRESS_EVERY = 1 << 14;

/**
 * Turns folded notices into rules. A rule has no window but those of its entry, so it cannot outlive its notice; what the
 * guard-rails of the pack refuse makes no rule and is listed, while the rest stands. An exclusion becomes a passthru rule
 * that carries its entry's ordinal, so that it narrows that entry and no other.
 */
export function compileRules(
  folded: readonly FoldedNotice[],
  pack: Pack,
  sink: RuleSink,
  onEntries?: (done: number, total: number) => void,
): Compilation {
  const refuse = createGuard(pack);
  const refused: RefusedEntry[] = [];
  const total = folded.reduce((sum, { entries }) => sum + entries.count, 0);
  let rules = 0;
  let ordinal = 0;
  let done = 0;
  for (const one of folded) {
    const { entries, notice } = one;
    const approvers = notice.statement.approvals.length;
    const noticeOrdinal = addNotice(one, sink);
    for (let at = 0; at < entries.count; at++) {
      if (done++ % PROGRESS_EVERY === 0) onEntries?.(done, total);
      const windows = windowsOf(one, at);
      if (windows.length === 0) continue;
      const name = entries.name(at);
      const scope = entries.scope(at);
      const reason = refuse(name, scope, approvers);
      if (reason !== undefined) {
        refused.push({ notice: notice.statement.reference, entry: entries.id(at), name, reason });
        continue;
      }
      const trigger = scope === 'exact' ? 'exact' : 'subtree';
      for (const { notBefore, notAfter } of windows) {
        sink.addRule(name, trigger, 'block', notBefore, notAfter, noticeOrdinal, ordinal);
      }
      rules += windows.length + addExclusions(one, at, windows, noticeOrdinal, ordinal, sink);
      ordinal++;
    }
  }
  onEntries?.(total, total);
  return { rules, entries: ordinal, refused };
}

/** Registers what an answer under this notice says. */
function addNotice({ notice }: FoldedNotice, sink: RuleSink): number {
  const { reference, category, redress } = notice.statement;
  return sink.addNotice({ reference, category, authority: notice.authority.name, contacts: redress.contacts });
}

/** Adds the passthru rules of one entry and returns how many. */
function addExclusions(
  one: FoldedNotice,
  at: number,
  windows: readonly Window[],
  notice: number,
  ordinal: number,
  sink: RuleSink,
): number {
  if (!one.entries.excludes.has(at) && !one.varied.has(at)) return 0;
  let added = 0;
  for (const { name, fromSeconds } of exclusionsOf(one, at)) {
    for (const { notBefore, notAfter } of windows) {
      const start = Math.max(notBefore, fromSeconds);
      if (start >= notAfter) continue;
      sink.addRule(name, 'subtree', 'passthru', start, notAfter, notice, ordinal);
      added++;
    }
  }
  return added;
}
