import { RELEASE_TYPES } from '../../register/authorities.ts';
import { type FoldedNotice, fold } from '../../register/fold.ts';
import { createGuard, type RefuseEntry } from '../../register/guard.ts';
import { digestList } from '../../register/list-digest.ts';
import type { Pack } from '../../register/pack.ts';
import { countPages, type PageCounts } from '../../register/pages.ts';
import type { KnownNotice } from '../../register/verify-statement.ts';
import type { ReceiptRecord, Store } from '../store.ts';
import type { RegisterView } from '../view/register-view.ts';
import { Turns } from '../view/turns.ts';

const DAY_SECONDS = 86_400;
const PAGE = 200;

/**
 * Nodes fetch a new list of who may sign within this time, rows of other processes are there, and this process has read what
 * they knew.
 */
const SETTLE_SECONDS = 60;

/** Lists that are folded in one go at most: each takes some milliseconds for a thousand notices. */
const FOLDS_AT_ONCE = 100;

/** Lists whose account is kept: the nodes of an ISP mostly fold for a few seconds in common. */
const LISTS_KEPT = 1000;

/**
 * Replays the register for receipts: whether what a node says it applied, pages and all, is what the register says at that
 * size and second.
 * A receipt from before the list of who may sign changed is not judged, as the register is then read with other eyes.
 */
export class ReceiptCheck {
  readonly #store: Pick<Store, 'read' | 'transaction'>;
  readonly #register: RegisterView;
  readonly #lists = new Map<string, ListAccount>();
  #guard: { readonly pack: Pack; readonly refuse: RefuseEntry } | undefined;
  #after: ReceiptRecord | undefined;
  #authoritiesVersion = 0;
  /** Receipts that were received before this may have been folded under other authorities. */
  #fromSeconds = 0;

  constructor(store: Pick<Store, 'read' | 'transaction'>, register: RegisterView) {
    this.#store = store;
    this.#register = register;
  }

  /**
   * Judges some receipts that were not judged yet, oldest first, and returns how many; call it again until that is none.
   *
   * @throws {WartaError} `store-failed`.
   */
  async judgeSome(nowSeconds: number): Promise<number> {
    this.#noticeAuthorities(nowSeconds);
    const verdicts = new Map<string, boolean>();
    const turns = new Turns();
    let after = this.#after;
    for (let isLast = false; !isLast && verdicts.size < FOLDS_AT_ONCE; ) {
      const page = await this.#listAfter(after, nowSeconds);
      isLast = page.length < PAGE;
      for (const receipt of page) {
        if (verdicts.size >= FOLDS_AT_ONCE) break;
        after = receipt;
        // Another process may still write rows of the last minute.
        if (receipt.receivedSeconds < nowSeconds - SETTLE_SECONDS) this.#after = receipt;
        const verdict = this.#judge(receipt, nowSeconds);
        if (verdict !== undefined) verdicts.set(receipt.id, verdict);
        await turns.share();
      }
    }
    if (verdicts.size > 0) {
      await this.#store.transaction(async (tables) => {
        for (const [id, agrees] of verdicts) await tables.receipts.update(id, { agrees });
      });
    }
    return verdicts.size;
  }

  #listAfter(after: ReceiptRecord | undefined, nowSeconds: number): Promise<ReceiptRecord[]> {
    const from = Math.max(this.#fromSeconds, nowSeconds - 2 * DAY_SECONDS);
    return this.#store.read((tables) =>
      tables.receipts.list({ where: { receivedSeconds: { from } }, orderBy: 'receivedSeconds', after, limit: PAGE }),
    );
  }

  /** Returns whether a receipt agrees with the register; `undefined` when that is known, or cannot be said (yet). */
  #judge(receipt: ReceiptRecord, nowSeconds: number): boolean | undefined {
    if (receipt.agrees !== null || receipt.foldedSeconds < this.#fromSeconds) return undefined;
    if (receipt.treeSize <= this.#register.size) return this.#agrees(receipt);
    // This process may be a moment behind; a size that the log does not come to is a false one.
    return receipt.receivedSeconds < nowSeconds - SETTLE_SECONDS ? false : undefined;
  }

  /** Judges only what was folded after the authorities that the register is read with came out. */
  #noticeAuthorities(nowSeconds: number): void {
    const { version } = this.#register.authorities;
    if (version === this.#authoritiesVersion) return;
    if (this.#authoritiesVersion !== 0) this.#fromSeconds = nowSeconds + SETTLE_SECONDS;
    this.#authoritiesVersion = version;
    this.#lists.clear();
    this.#after = undefined;
  }

  #agrees(receipt: ReceiptRecord): boolean {
    const { licensee, foldedSeconds, treeSize } = receipt;
    if (isStated(receipt, this.#listOf(licensee, foldedSeconds, treeSize))) return true;
    // A node takes releases at once that the log shows without enough witnesses: they are not counted in its tree size.
    return isStated(receipt, this.#listWithReleases(licensee, foldedSeconds, treeSize));
  }

  #listOf(licensee: string, foldedSeconds: number, treeSize: number): ListAccount {
    const key = `${licensee} ${foldedSeconds} ${treeSize}`;
    const known = this.#lists.get(key);
    if (known !== undefined) return known;
    const list = this.#accountFor(this.#register.fold(licensee, foldedSeconds, treeSize));
    if (this.#lists.size >= LISTS_KEPT) this.#lists.delete(this.#lists.keys().next().value!);
    this.#lists.set(key, list);
    return list;
  }

  #listWithReleases(licensee: string, foldedSeconds: number, treeSize: number): ListAccount {
    const counted = this.#register
      .statements()
      .filter(({ index, verified }) => index < treeSize || RELEASE_TYPES.has(verified.statement.type));
    const folded = fold(
      counted.map(({ verified }) => verified),
      licensee,
      foldedSeconds,
    );
    return this.#accountFor(folded);
  }

  #accountFor(folded: readonly FoldedNotice<KnownNotice>[]): ListAccount {
    const { pack, packSha256 } = this.#register;
    if (this.#guard?.pack !== pack) this.#guard = { pack, refuse: createGuard(pack) };
    return { digest: digestList(folded, packSha256), ...countPages(folded, this.#guard.refuse) };
  }
}

/** What a receipt must say of a list. */
interface ListAccount extends PageCounts {
  readonly digest: string;
}

/** Whether a receipt says of its list what is so. One without pages says nothing of any. */
function isStated({ rulesDigest, pages: told }: ReceiptRecord, { digest, pages, httpOnlyPages }: ListAccount): boolean {
  const { entries, httpOnly } = told ?? { entries: 0, httpOnly: 0 };
  return digest === rulesDigest && entries === pages && httpOnly === httpOnlyPages;
}
