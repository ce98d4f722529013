/** So much of something at once, and so much more as time passes or as it is earned: a token bucket. */
export class Allowance {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #monotonicMillis: () => number;
  #left: number;
  #at: number;

  constructor(burst: number, perSecond: number, monotonicMillis: () => number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#monotonicMillis = monotonicMillis;
    this.#left = burst;
    this.#at = monotonicMillis();
  }

  /** Takes one; false when there is none left. The clock is read only then. */
  spend(): boolean {
    if (this.#left < 1) {
      const now = this.#monotonicMillis();
      this.earn(((now - this.#at) * this.#perSecond) / 1000);
      this.#at = now;
      if (this.#left < 1) return false;
    }
    this.#left--;
    return true;
  }

  earn(count: number): void {
    this.#left = Math.min(this.#burst, this.#left + count);
  }
}
