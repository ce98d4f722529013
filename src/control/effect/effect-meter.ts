import type { Receipt } from '../../register/receipt.ts';
import { secondsOf } from '../../register/time.ts';
import type { PlacedStatement, RegisterView } from '../view/register-view.ts';
import { concernsLicensee, dueSecondsOf, type EffectKind, kindOf } from './statement-reach.ts';

/** Most statements that one receipt tells of: a node that catches up after weeks says nothing of the time it took. */
const STATEMENTS_MAX = 1000;

/**
 * Tells, as receipts come in, how long statements took to have their effect. It knows a node from its first receipt on, and
 * forgets them all when the process ends: good for a graph, where `EffectBook` is what reports are made from.
 */
export class EffectMeter {
  readonly #register: RegisterView;
  readonly #observe: (kind: EffectKind, seconds: number) => void;
  /** How much of the log each node had applied. */
  readonly #sizes = new Map<string, number>();

  constructor(register: RegisterView, observe: (kind: EffectKind, seconds: number) => void) {
    this.#register = register;
    this.#observe = observe;
  }

  /** Takes in a receipt that is new. */
  take({ licensee, node, treeSize, mode, appliedAt }: Receipt): void {
    const name = `${licensee}/${node}`;
    const before = this.#sizes.get(name);
    // What this process has not read yet is told of by the receipt after this one.
    const size = Math.min(treeSize, this.#register.size);
    if (mode !== 'enforce' || (before ?? 0) > size) return;
    this.#sizes.set(name, size);
    if (before === undefined) return;
    const appliedSeconds = secondsOf(appliedAt);
    for (const placed of this.#listBetween(before, size)) {
      const due = dueSecondsOf(placed);
      if (due > appliedSeconds || !concernsLicensee(this.#register, placed, licensee)) continue;
      this.#observe(kindOf(placed), appliedSeconds - due);
    }
  }

  /** Lists the statements with numbers from `first` to below `end`, the newest of them when there are many. */
  #listBetween(first: number, end: number): PlacedStatement[] {
    const found: PlacedStatement[] = [];
    const statements = this.#register.statements();
    for (let at = statements.length - 1; at >= 0 && found.length < STATEMENTS_MAX; at--) {
      const { index } = statements[at];
      if (index < first) break;
      if (index < end) found.push(statements[at]);
    }
    return found;
  }
}
