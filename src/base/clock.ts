/** Where time comes from; tests give their own. Wall time in milliseconds since the epoch, monotonic in milliseconds. */
export interface Clock {
  wallMillis(): number;
  monotonicMillis(): number;
}

export const systemClock: Clock = {
  wallMillis: () => Date.now(),
  monotonicMillis: () => performance.now(),
};

/** A difference below this is slewing or scheduling, not a step. */
const STEP_MILLIS = 2_000;

/** A forward step is believed after it has stood this long. */
const HOLD_MILLIS = 600_000;

/**
 * Two readings of the time, so that a clock step never blocks a name that no notice in force covers:
 *
 * - `endSeconds` judges ends. It never runs slower than the monotonic clock, nor below the floor: a rule that has lapsed does
 *   not revive when the clock is set back, and one that is about to lapse does not gain a day.
 * - `startSeconds` judges starts. After a forward step it goes on from the time before the step until the step has stood for
 *   ten minutes, so a rule does not start early because the clock jumped ahead for a moment.
 *
 * A forward step that is undone before it was believed leaves no trace: the monotonic clock bears witness that it was false,
 * and enforcement must not stay lapsed for good because of one wrong reading.
 *
 * Without a step both are the wall clock.
 */
export class RuleClock {
  readonly #clock: Clock;
  #floorMillis: number;
  #startMillis: number;
  #endMillis: number;
  #readAt: number;
  /** Monotonic time of an unconfirmed forward step, or -1. */
  #steppedAt = -1;
  /** How far ends were ahead of starts before that step. */
  #leadMillis = 0;

  constructor(clock: Clock, floorSeconds = 0) {
    this.#clock = clock;
    this.#floorMillis = floorSeconds * 1000;
    this.#readAt = clock.monotonicMillis();
    this.#startMillis = clock.wallMillis();
    this.#endMillis = Math.max(this.#startMillis, this.#floorMillis);
  }

  get startSeconds(): number {
    return this.#startMillis / 1000;
  }

  get endSeconds(): number {
    return this.#endMillis / 1000;
  }

  /** Seconds between the two readings: above zero after a step in either direction. */
  get stepSeconds(): number {
    return (this.#endMillis - this.#startMillis) / 1000;
  }

  /** Raises the time below which ends are never judged; a lower value changes nothing. */
  raiseFloor(seconds: number): void {
    if (seconds * 1000 > this.#floorMillis) this.#floorMillis = seconds * 1000;
  }

  /** Takes both readings anew. */
  read(): void {
    const wall = this.#clock.wallMillis();
    const monotonic = this.#clock.monotonicMillis();
    const passed = monotonic - this.#readAt;
    this.#readAt = monotonic;
    const projected = this.#startMillis + passed;
    let end = this.#endMillis + passed;
    if (wall > projected + STEP_MILLIS) {
      if (this.#steppedAt < 0) {
        this.#steppedAt = monotonic;
        this.#leadMillis = this.#endMillis - this.#startMillis;
      }
    } else {
      if (this.#steppedAt >= 0) end = projected + this.#leadMillis;
      this.#steppedAt = -1;
    }
    const held = this.#steppedAt >= 0 && monotonic - this.#steppedAt < HOLD_MILLIS;
    if (!held) this.#steppedAt = -1;
    this.#startMillis = held ? projected : wall;
    this.#endMillis = Math.max(wall, end, this.#floorMillis);
  }
}
