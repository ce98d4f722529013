import type { Clock } from '../../src/base/clock.ts';

/** A clock that only moves when told to. `pass` lets time go by; setting `wall` alone is a step. Milliseconds. */
export class FakeClock implements Clock {
  wall: number;
  monotonic = 5_000;

  constructor(wallSeconds = 1_772_000_000) {
    this.wall = wallSeconds * 1000;
  }

  wallMillis(): number {
    return this.wall;
  }

  monotonicMillis(): number {
    return this.monotonic;
  }

  pass(millis: number): void {
    this.wall += millis;
    this.monotonic += millis;
  }
}
