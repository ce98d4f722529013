import { WartaError } from '../../base/errors.ts';
import { reachOf } from '../../register/statement.ts';
import {
  checkTargets,
  isChange,
  isNotice,
  type KnownNotice,
  type KnownStatement,
} from '../../register/verify-statement.ts';
import { NameIndex } from './name-index.ts';
import type { NamedEntry, PlacedNotice, PlacedStatement } from './register-view.ts';

/** A statement that is good by itself. `isVoid`: a notice whose annex is no good, which can still be named by others. */
export interface RollEntry extends PlacedStatement {
  readonly isVoid?: boolean;
}

/**
 * The good statements of a register but heartbeats, taken up one by one, with what finds them. A statement that names one
 * which is not there waits until that comes, if ever: the outcome is that of `readRegister` over all leaves.
 */
export class StatementRoll {
  readonly #placed: PlacedStatement[] = [];
  readonly #notices: PlacedNotice[] = [];
  readonly #byId = new Map<string, PlacedStatement>();
  readonly #byReference = new Map<string, PlacedStatement[]>();
  /** Statements that name a notice, resumptions of those included. */
  readonly #byNotice = new Map<string, PlacedStatement[]>();
  /** Statements that reach whole programmes or categories, and resumptions of those. */
  readonly #wide: PlacedStatement[] = [];
  readonly #voidNotices = new Map<string, KnownNotice>();
  readonly #strays = new Map<string, PlacedStatement>();
  readonly #names = new NameIndex();
  readonly #named: PlacedNotice[] = [];

  get placed(): readonly PlacedStatement[] {
    return this.#placed;
  }

  get notices(): readonly PlacedNotice[] {
    return this.#notices;
  }

  find(id: string): PlacedStatement | undefined {
    return this.#byId.get(id);
  }

  findByReference(authority: string, reference: string): readonly PlacedStatement[] {
    return this.#byReference.get(`${authority} ${reference}`) ?? [];
  }

  findEntries(name: string): NamedEntry[] {
    return this.#names.find(name).map(({ table, at }) => ({ notice: this.#named[table], at }));
  }

  /** The statements that may change a notice, in the order of the log. */
  changesOf({ verified: { id, statement } }: PlacedNotice): readonly PlacedStatement[] {
    const own = this.#byNotice.get(id) ?? [];
    const wide = this.#wide.filter(({ verified }) => this.#reaches(verified, statement));
    return [...own, ...wide].sort((one, other) => one.index - other.index);
  }

  #reaches({ statement, authority }: KnownStatement, notice: KnownNotice['statement']): boolean {
    if (!authority.mayRelease.has(notice.authority)) return false;
    if (statement.type === 'resumption') {
      const target = this.#byId.get(statement.target);
      return target !== undefined && this.#reaches(target.verified, notice);
    }
    if (statement.type === 'notice' || statement.type === 'heartbeat') return false;
    const reach = reachOf(statement);
    return reach?.instrument === notice.instrument || reach?.category === notice.category;
  }

  /**
   * Takes up a statement. Returns false when the one it is a copy of was integrated later, as no honest log has it: then all
   * leaves must be read anew in the order of their times.
   */
  add(one: RollEntry): boolean {
    const { id, integratedAtSeconds } = one.verified;
    const earlier = this.#byId.get(id)?.verified ?? this.#strays.get(id)?.verified ?? this.#voidNotices.get(id);
    if (earlier !== undefined) return earlier.integratedAtSeconds <= integratedAtSeconds;
    if (one.isVoid) this.#voidNotices.set(id, one.verified as KnownNotice);
    else if (this.#isStray(one)) {
      // What it names may still come: a payload is as old as its digest, a leaf need not be.
      this.#strays.set(id, one);
      if (!isNotice(one.verified)) return true;
    } else this.#accept(one);
    this.#retryStrays();
    return true;
  }

  /** Whether a statement names what is not there or not its authority's to change. */
  #isStray({ verified }: PlacedStatement): boolean {
    try {
      checkTargets(verified, (id) => this.#findNamed(id));
      return false;
    } catch (error) {
      if (!(error instanceof WartaError)) throw error;
      return true;
    }
  }

  /** A void notice can still be named: whatever releases it is no less good for that. */
  #findNamed(id: string): KnownStatement | undefined {
    const stray = this.#strays.get(id);
    return (
      this.#byId.get(id)?.verified ??
      this.#voidNotices.get(id) ??
      (stray !== undefined && isNotice(stray.verified) ? stray.verified : undefined)
    );
  }

  #retryStrays(): void {
    for (let found = this.#strays.size > 0; found; ) {
      found = false;
      for (const [id, stray] of this.#strays) {
        if (this.#isStray(stray)) continue;
        this.#strays.delete(id);
        this.#accept(stray);
        found = true;
      }
    }
  }

  #accept(placed: PlacedStatement): void {
    const { verified } = placed;
    const { id, statement } = verified;
    insertInOrder(this.#placed, placed);
    this.#byId.set(id, placed);
    append(this.#byReference, `${statement.authority} ${'reference' in statement ? statement.reference : ''}`, placed);
    if (isNotice(verified)) this.#acceptNotice(placed as PlacedNotice);
    else if (isChange(verified)) this.#acceptChange(placed, verified);
  }

  #acceptNotice(placed: PlacedNotice): void {
    const { statement, entries } = placed.verified;
    insertInOrder(this.#notices, placed);
    for (const old of statement.supersedes ?? []) append(this.#byNotice, old, placed);
    if (entries === undefined) return;
    this.#names.add(entries);
    this.#named.push(placed);
  }

  #acceptChange(placed: PlacedStatement, { statement }: KnownStatement): void {
    if (statement.type === 'notice' || statement.type === 'heartbeat') return;
    const target = statement.type === 'resumption' ? this.#byId.get(statement.target)?.verified.statement : statement;
    if (target === undefined || target.type === 'notice' || target.type === 'heartbeat') return;
    const notice = reachOf(target)?.notice;
    if (notice === undefined) this.#wide.push(placed);
    else append(this.#byNotice, notice, placed);
  }
}

/** Nearly always the last one: only what waited for another goes in between. */
function insertInOrder<P extends PlacedStatement>(list: P[], placed: P): void {
  let at = list.length;
  while (at > 0 && list[at - 1].index > placed.index) at--;
  list.splice(at, 0, placed);
}

function append<V>(lists: Map<string, V[]>, key: string, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
