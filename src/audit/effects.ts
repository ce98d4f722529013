import { type Reach, reachOf } from '../register/statement.ts';
import { NO_END_SECONDS, secondsOf } from '../register/time.ts';
import {
  isChange,
  isNotice,
  type KnownChange,
  type KnownNotice,
  type KnownStatement,
} from '../register/verify-statement.ts';

/** Why an entry of a notice is not in force: by the notice's own terms, or by a statement. */
export type CauseKind =
  | 'not-logged'
  | 'not-addressed'
  | 'not-yet'
  | 'expired'
  | 'entry-expired'
  | 'superseded'
  | 'revoked'
  | 'stayed'
  | 'halted'
  | 'exempted'
  | 'removed'
  | 'shortened';

/** One reason why an entry is not in force, and for how long it holds: `fromSeconds <= t < untilSeconds`. */
export interface Cause {
  readonly kind: CauseKind;
  /** The statement that takes the block away; absent when the notice's own terms do. */
  readonly statement?: KnownStatement;
  readonly fromSeconds: number;
  readonly untilSeconds: number;
}

/** A name below an entry that stays reachable; without a statement when the notice itself says so. */
export interface AppliedExclusion {
  readonly name: string;
  readonly fromSeconds: number;
  readonly statement?: KnownStatement;
}

/** A change, the period it takes away, and which entries (all of the notice's unless given). */
interface Effect {
  readonly change: KnownChange;
  readonly reach: Reach;
  readonly fromSeconds: number;
  readonly untilSeconds: number;
}

const KINDS = {
  stay: 'stayed',
  halt: 'halted',
  exemption: 'exempted',
  revocation: 'revoked',
  variation: 'removed',
} as const satisfies Record<string, CauseKind>;

/**
 * What the statements known at one time do to notices for one licensee, told statement by statement. `fold` says what
 * is in force; this says why the rest is not. Written apart from `fold`, and tests hold the two against each other.
 */
export class Effects {
  readonly #licensee: string;
  readonly #atSeconds: number;
  readonly #byNotice = new Map<string, Effect[]>();
  readonly #wide: Effect[] = [];
  readonly #successors = new Map<string, KnownNotice[]>();
  readonly #resumptions = new Map<string, KnownChange>();

  constructor(statements: readonly KnownStatement[], licensee: string, atSeconds: number) {
    this.#licensee = licensee;
    this.#atSeconds = atSeconds;
    const known = statements.filter(({ integratedAtSeconds }) => integratedAtSeconds <= atSeconds);
    const changes = known.filter(isChange);
    for (const change of changes) this.#noteResumption(change);
    for (const change of changes) this.#noteEffect(change);
    for (const notice of known) if (isNotice(notice)) this.#noteSuccession(notice);
  }

  /**
   * Returns every reason why an entry, or the notice as a whole, is not in force at the time asked for; none when it
   * is.
   */
  causes(notice: KnownNotice, at?: number): Cause[] {
    const causes = [...this.#ownTerms(notice, at)];
    for (const successor of this.#successors.get(notice.id) ?? []) {
      const fromSeconds = successor.startSeconds;
      causes.push({ kind: 'superseded', statement: successor, fromSeconds, untilSeconds: NO_END_SECONDS });
    }
    const id = at === undefined ? undefined : notice.entries?.id(at);
    for (const effect of this.#effectsOn(notice)) causes.push(...this.#causesOf(effect, id));
    return causes.filter((cause) => cause.fromSeconds <= this.#atSeconds && this.#atSeconds < cause.untilSeconds);
  }

  /** Returns the names below an entry that stay reachable at the time asked for. */
  exclusions(notice: KnownNotice, at: number): AppliedExclusion[] {
    const signed = (notice.entries?.excludes.get(at) ?? []).map((name) => ({ name, fromSeconds: 0 }));
    const id = notice.entries?.id(at);
    const added = this.#effectsOn(notice).flatMap(({ change, fromSeconds }) => {
      if (change.statement.type !== 'variation' || fromSeconds > this.#atSeconds) return [];
      const names = (change.statement.exclude ?? []).filter(({ entry }) => entry === id).flatMap(({ names }) => names);
      return names.map((name) => ({ name, fromSeconds, statement: change as KnownStatement }));
    });
    return [...signed, ...added];
  }

  /**
   * Returns the statements that bear on a notice for this licensee, whatever they come to: changes, resumptions,
   * successors.
   */
  bearingOn(notice: KnownNotice): KnownStatement[] {
    const changes = this.#effectsOn(notice).map(({ change }) => change);
    const resumptions = changes.flatMap(({ id }) => this.#resumptions.get(id) ?? []);
    return [...changes, ...resumptions, ...(this.#successors.get(notice.id) ?? [])];
  }

  /** Returns the resumption that ends a stay or a halt first. */
  resumptionOf(id: string): KnownStatement | undefined {
    return this.#resumptions.get(id);
  }

  #noteResumption(change: KnownChange): void {
    if (change.statement.type !== 'resumption') return;
    const { target, from } = change.statement;
    const earlier = this.#resumptions.get(target);
    if (earlier === undefined || from < (earlier.statement as { from: string }).from) {
      this.#resumptions.set(target, change);
    }
  }

  #noteEffect(change: KnownChange): void {
    const { statement } = change;
    const reach = reachOf(statement);
    if (reach === undefined) return;
    if (statement.type === 'exemption' && statement.licensee !== this.#licensee) return;
    const until = 'until' in statement && statement.until !== undefined ? secondsOf(statement.until) : NO_END_SECONDS;
    const resumption = this.#resumptions.get(change.id)?.statement as { from: string } | undefined;
    const resumed = resumption === undefined ? NO_END_SECONDS : secondsOf(resumption.from);
    const effect = { change, reach, fromSeconds: secondsOf(statement.from), untilSeconds: Math.min(until, resumed) };
    if (reach.notice === undefined) this.#wide.push(effect);
    else append(this.#byNotice, reach.notice, effect);
  }

  #noteSuccession(notice: KnownNotice): void {
    if (notice.entries === undefined) return;
    for (const old of notice.statement.supersedes ?? []) append(this.#successors, old, notice);
  }

  /** What the notice itself says about the time and about whom it binds. */
  *#ownTerms(notice: KnownNotice, at: number | undefined): Generator<Cause> {
    const { recipients } = notice.statement;
    const always = { fromSeconds: 0, untilSeconds: NO_END_SECONDS };
    if (notice.integratedAtSeconds > this.#atSeconds) {
      yield { kind: 'not-logged', fromSeconds: 0, untilSeconds: notice.integratedAtSeconds };
    }
    if (!('all' in recipients) && !recipients.licensees.includes(this.#licensee)) {
      yield { kind: 'not-addressed', ...always };
    }
    yield { kind: 'not-yet', fromSeconds: 0, untilSeconds: notice.startSeconds };
    yield { kind: 'expired', fromSeconds: notice.endSeconds, untilSeconds: NO_END_SECONDS };
    const expires = at === undefined ? undefined : notice.entries?.expiresSeconds(at);
    if (expires !== undefined && expires !== NO_END_SECONDS) {
      yield { kind: 'entry-expired', fromSeconds: expires, untilSeconds: NO_END_SECONDS };
    }
  }

  #effectsOn(notice: KnownNotice): Effect[] {
    const { instrument, category, authority } = notice.statement;
    const wide = this.#wide.filter(
      ({ change, reach }) =>
        change.authority.mayRelease.has(authority) && (reach.instrument === instrument || reach.category === category),
    );
    return [...(this.#byNotice.get(notice.id) ?? []), ...wide];
  }

  /** What one change does to one entry. */
  *#causesOf({ change, reach, fromSeconds, untilSeconds }: Effect, id: string | undefined): Generator<Cause> {
    const { statement } = change;
    if (statement.type === 'resumption') return;
    if (statement.type !== 'variation') {
      if (reach.entries !== undefined && !(id !== undefined && reach.entries.includes(id))) return;
      yield { kind: KINDS[statement.type], statement: change, fromSeconds, untilSeconds };
      return;
    }
    const shortened = (end: string): Cause => ({
      kind: 'shortened',
      statement: change,
      fromSeconds: Math.max(fromSeconds, secondsOf(end)),
      untilSeconds: NO_END_SECONDS,
    });
    if (statement.expiresAt !== undefined) yield shortened(statement.expiresAt);
    for (const { entry, at } of statement.expires ?? []) if (entry === id) yield shortened(at);
    if (id !== undefined && statement.remove?.includes(id)) {
      yield { kind: 'removed', statement: change, fromSeconds, untilSeconds };
    }
  }
}

/** Appends to the list of a key. */
function append<V>(lists: Map<string, V[]>, key: string, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
