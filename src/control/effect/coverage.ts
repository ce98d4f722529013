/**
 * When a node had applied how much of the log: for each size the first receipt that covers it. Receipts may come in any
 * order. Only those are kept that reach further than every earlier one.
 */
export class Coverage {
  readonly #appliedSeconds: number[] = [];
  readonly #treeSizes: number[] = [];

  /** Takes in a receipt. */
  add(appliedSeconds: number, treeSize: number): void {
    const at = this.#countUntil(appliedSeconds);
    if (at > 0 && this.#treeSizes[at - 1] >= treeSize) return;
    let end = at;
    while (end < this.#treeSizes.length && this.#treeSizes[end] <= treeSize) end++;
    // One of the same second that reaches less far is of no more use.
    const from = at > 0 && this.#appliedSeconds[at - 1] === appliedSeconds ? at - 1 : at;
    this.#appliedSeconds.splice(from, end - from, appliedSeconds);
    this.#treeSizes.splice(from, end - from, treeSize);
  }

  /** Returns when the node had applied the leaf with this number; `undefined` when it has not said so yet. */
  find(index: number): number | undefined {
    let low = 0;
    let high = this.#treeSizes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#treeSizes[middle] <= index) low = middle + 1;
      else high = middle;
    }
    return this.#appliedSeconds[low];
  }

  /** Counts the receipts applied until a time, that one included. */
  #countUntil(seconds: number): number {
    let low = 0;
    let high = this.#appliedSeconds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#appliedSeconds[middle] <= seconds) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
