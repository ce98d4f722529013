import type { EntryAction, PageUrl, Scope } from '../register/annex.ts';
import { exclusionsOf, type FoldedNotice, type Window, windowsOf } from '../register/fold.ts';
import { createGuard, type RefuseEntry } from '../register/guard.ts';
import { httpsOfPages, type PageHttps, refuseAt } from '../register/pages.ts';
import { formatInstant, NO_END_SECONDS } from '../register/time.ts';
import type { KnownNotice } from '../register/verify-statement.ts';
import type { AuditRegister, ReadOptions } from './audit-register.ts';
import { SEALED_NAME, SealedEntries } from './sealed-entries.ts';

/** What is told of a rule that lists a page; of others nothing. */
export interface PageRule {
  /** The address of the page. */
  readonly url?: string;
  /** Its query may be anything. */
  readonly query?: 'any';
  /** What becomes of HTTPS to its host. */
  readonly https?: PageHttps;
}

/** A rule in force at one time. Times are RFC 3339; without `notAfter` it runs until revoked. */
export interface ReplayedRule extends PageRule {
  /** `(sealed)` for all entries together of a sealed notice whose annex is not at hand. */
  readonly name: string;
  readonly scope: Scope | 'sealed';
  /** Absent where the entries are not at hand. */
  readonly action?: EntryAction;
  /** Names below it that stay reachable, with all below them. */
  readonly exclusions: readonly string[];
  /** Reference of the notice, and its id. */
  readonly notice: string;
  readonly noticeId: string;
  /** Id of the entry; for a sealed notice how many entries it has. */
  readonly entry: string;
  readonly notBefore: string;
  readonly notAfter?: string;
}

/** The list of one licensee at one time. */
export interface Replay {
  readonly licensee: string;
  readonly atSeconds: number;
  /** Leaves that were in the log by then. */
  readonly treeSize: number;
  /** Heartbeats among them, which were passed over: whether they are good was not asked. */
  readonly passedOver: number;
  /** What a receipt states that was folded for this second from this many leaves. */
  readonly rulesDigest: string;
  readonly folded: readonly FoldedNotice<KnownNotice>[];
  /** Sealed notices in force whose names are not at hand. */
  readonly unread: number;
  /**
   * Yields the rules in force, notice by notice; `onRefused` is told of entries that the guard-rails keep from being
   * one.
   */
  rules(onRefused?: (rule: ReplayedRule, reason: string) => void): Generator<ReplayedRule>;
}

/**
 * Folds the register as it stood at a time: statements integrated later are not even read. Nor are the signatures of
 * heartbeats checked, as none of them decides a rule.
 */
export function replayRegister(
  register: AuditRegister,
  licensee: string,
  atSeconds: number,
  onProgress?: ReadOptions['onProgress'],
): Replay {
  const treeSize = register.sizeAt(atSeconds);
  const reading = register.read({ size: treeSize, annexesFromSeconds: atSeconds, rulesOnly: true, onProgress });
  const folded = reading.fold(licensee, atSeconds);
  const refuse = createGuard(register.pinned.pack);
  const unread = folded.filter(
    (one) => one.entries instanceof SealedEntries && windowAt(one.windows, atSeconds),
  ).length;
  return {
    licensee,
    atSeconds,
    treeSize,
    passedOver: treeSize - reading.verdicts.length,
    rulesDigest: register.digestOf(folded),
    folded,
    unread,
    rules: (onRefused) => listRules(folded, atSeconds, refuse, onRefused),
  };
}

/** Returns the window that a time lies in. */
export function windowAt(windows: readonly Window[], atSeconds: number): Window | undefined {
  return windows.find(({ notBefore, notAfter }) => notBefore <= atSeconds && atSeconds < notAfter);
}

/** Returns the names below an entry that stay reachable at a time, each once. */
export function excludedNames(one: FoldedNotice<KnownNotice>, at: number, atSeconds: number): string[] {
  const exclusions = exclusionsOf(one, at).filter(({ fromSeconds }) => fromSeconds <= atSeconds);
  return [...new Set(exclusions.map(({ name }) => name))].sort();
}

function* listRules(
  folded: readonly FoldedNotice<KnownNotice>[],
  atSeconds: number,
  refuse: RefuseEntry,
  onRefused?: (rule: ReplayedRule, reason: string) => void,
): Generator<ReplayedRule> {
  for (const one of folded) {
    const { entries, notice } = one;
    if (entries instanceof SealedEntries) yield* describeSealed(one, atSeconds);
    const approvers = notice.statement.approvals.length;
    const describe = createDescriber(one, atSeconds);
    for (let at = 0; at < entries.count; at++) {
      const window = windowAt(windowsOf(one, at), atSeconds);
      if (window === undefined) continue;
      const rule = describe(at, window);
      const reason = refuseAt(refuse, entries, at, approvers, rule.name);
      if (reason === undefined) yield rule;
      else onRefused?.(rule, reason);
    }
  }
}

/** Returns how to describe the rules of one notice, whose entries nearly all share one window. */
function createDescriber(one: FoldedNotice<KnownNotice>, atSeconds: number) {
  const { entries, notice, varied } = one;
  const { reference } = notice.statement;
  let last: { window: Window; times: ReturnType<typeof describeWindow> } | undefined;
  return (at: number, window: Window): ReplayedRule => {
    if (last?.window !== window) last = { window, times: describeWindow(window) };
    const plain = !entries.excludes.has(at) && !varied.has(at);
    return {
      name: entries.name(at),
      scope: entries.scope(at),
      action: entries.action(at),
      ...describePage(notice, entries.urls.get(at)),
      exclusions: plain ? [] : excludedNames(one, at, atSeconds),
      notice: reference,
      noticeId: notice.id,
      entry: entries.id(at),
      ...last.times,
    };
  };
}

const NO_PAGE: PageRule = {};

/** Describes the page of an entry that lists one. */
export function describePage({ statement }: KnownNotice, page: PageUrl | undefined): PageRule {
  if (page === undefined) return NO_PAGE;
  const { url, anyQuery } = page;
  return { url, ...(anyQuery && { query: 'any' as const }), https: httpsOfPages(statement) };
}

/** Describes a sealed notice in force as one rule that names nothing. */
function* describeSealed({ notice, windows }: FoldedNotice<KnownNotice>, atSeconds: number): Generator<ReplayedRule> {
  const window = windowAt(windows, atSeconds);
  if (window === undefined) return;
  const { reference, annex } = notice.statement;
  yield {
    name: SEALED_NAME,
    scope: 'sealed',
    exclusions: [],
    notice: reference,
    noticeId: notice.id,
    entry: String(annex.entries),
    ...describeWindow(window),
  };
}

function describeWindow({ notBefore, notAfter }: Window) {
  const end = notAfter === NO_END_SECONDS ? undefined : formatInstant(notAfter);
  return { notBefore: formatInstant(notBefore), notAfter: end };
}
