import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RuleClock } from '../../src/base/clock.ts';
import { FakeClock } from './fake-clock.ts';

const START = 1_772_000_000;
const DAY = 86_400;
const HOLD = 600;

/** Lets `seconds` go by and reads; returns both readings relative to the start of the test. */
function pass(clock: FakeClock, rules: RuleClock, seconds: number): [number, number] {
  clock.pass(seconds * 1000);
  rules.read();
  return [rules.startSeconds - START, rules.endSeconds - START];
}

function create(floorSeconds?: number): [FakeClock, RuleClock] {
  const clock = new FakeClock(START);
  return [clock, new RuleClock(clock, floorSeconds)];
}

/** Sets the wall clock `seconds` ahead (or back) in one step. */
function step(clock: FakeClock, seconds: number): void {
  clock.wall += seconds * 1000;
}

describe('without a step', () => {
  it('both readings are the wall clock', () => {
    const [clock, rules] = create();
    for (const seconds of [0, 0.02, 1, 3_600, DAY]) {
      pass(clock, rules, seconds);
      expect(rules.startSeconds).toBe(clock.wall / 1000);
      expect(rules.endSeconds).toBe(clock.wall / 1000);
      expect(rules.stepSeconds).toBe(0);
    }
  });

  it('a slewed second is followed by both', () => {
    const [clock, rules] = create();
    step(clock, 1.5);
    expect(pass(clock, rules, 10)).toEqual([11.5, 11.5]);
  });
});

describe('a step back', () => {
  it('judges ends as if it had not happened and starts by the new time', () => {
    const [clock, rules] = create();
    pass(clock, rules, 100);
    step(clock, -DAY);
    expect(pass(clock, rules, 0)).toEqual([100 - DAY, 100]);
    expect(rules.stepSeconds).toBe(DAY);
    expect(pass(clock, rules, 50)).toEqual([150 - DAY, 150]);
    expect(pass(clock, rules, 2 * DAY)).toEqual([150 + DAY, 150 + 2 * DAY]);
  });

  it('is forgotten once the clock has been right again for ten minutes', () => {
    const [clock, rules] = create();
    step(clock, -DAY);
    pass(clock, rules, 10);
    step(clock, DAY);
    expect(pass(clock, rules, 10)).toEqual([20 - DAY, 20]);
    expect(pass(clock, rules, HOLD)).toEqual([HOLD + 20, HOLD + 20]);
    expect(rules.stepSeconds).toBe(0);
  });
});

describe('a step ahead', () => {
  it('ends rules at once and starts none until it has stood for ten minutes', () => {
    const [clock, rules] = create();
    step(clock, DAY);
    expect(pass(clock, rules, 1)).toEqual([1, DAY + 1]);
    expect(pass(clock, rules, HOLD - 1)).toEqual([HOLD, DAY + HOLD]);
    expect(pass(clock, rules, 1)).toEqual([DAY + HOLD + 1, DAY + HOLD + 1]);
  });

  it('that is taken back before it was believed starts nothing and leaves no trace', () => {
    const [clock, rules] = create();
    step(clock, DAY);
    pass(clock, rules, 300);
    step(clock, -DAY);
    expect(pass(clock, rules, 1)).toEqual([301, 301]);
    expect(rules.stepSeconds).toBe(0);
  });

  it('that is taken back after it was believed starts by the new time, but what has lapsed stays lapsed', () => {
    const [clock, rules] = create();
    step(clock, DAY);
    pass(clock, rules, 0);
    expect(pass(clock, rules, HOLD)).toEqual([DAY + HOLD, DAY + HOLD]);
    step(clock, -DAY);
    expect(pass(clock, rules, 1)).toEqual([HOLD + 1, DAY + HOLD + 1]);
  });

  it('after a step back is taken back to where that step had left it', () => {
    const [clock, rules] = create();
    step(clock, -DAY);
    expect(pass(clock, rules, 0)).toEqual([-DAY, 0]);
    step(clock, 3 * DAY);
    expect(pass(clock, rules, 60)).toEqual([60 - DAY, 2 * DAY + 60]);
    step(clock, -3 * DAY);
    expect(pass(clock, rules, 60)).toEqual([120 - DAY, 120]);
  });

  it('is held anew after it was taken back', () => {
    const [clock, rules] = create();
    step(clock, DAY);
    pass(clock, rules, HOLD - 1);
    step(clock, -DAY);
    pass(clock, rules, 1);
    step(clock, DAY);
    expect(pass(clock, rules, 1)[0]).toBe(HOLD + 1);
    expect(pass(clock, rules, HOLD - 1)[0]).toBe(2 * HOLD);
    expect(pass(clock, rules, 1)[0]).toBe(2 * HOLD + 1 + DAY);
  });
});

describe('the floor', () => {
  it('holds ends up from the first reading on, never starts', () => {
    const [clock, rules] = create(START + DAY);
    expect([rules.startSeconds, rules.endSeconds]).toEqual([START, START + DAY]);
    expect(pass(clock, rules, 10)).toEqual([10, DAY + 10]);
  });

  it('only rises', () => {
    const [clock, rules] = create();
    rules.raiseFloor(START + 500);
    rules.raiseFloor(START + 100);
    expect(pass(clock, rules, 1)).toEqual([1, 500]);
  });
});

describe('any history of steps', () => {
  const moves = fc.array(
    fc.record({ pass: fc.nat(DAY), step: fc.oneof(fc.constant(0), fc.integer({ min: -2 * DAY, max: 2 * DAY })) }),
    { maxLength: 40 },
  );

  it('never lets ends fall behind the wall clock, the floor, or what the monotonic clock says has passed', () => {
    fc.assert(
      fc.property(moves, (history) => {
        const [clock, rules] = create();
        let passed = 0;
        for (const { pass: seconds, step: stepSeconds } of history) {
          const start = rules.startSeconds;
          passed += seconds;
          step(clock, stepSeconds);
          pass(clock, rules, seconds);
          expect(rules.endSeconds).toBeGreaterThanOrEqual(START + passed);
          expect(rules.endSeconds).toBeGreaterThanOrEqual(clock.wall / 1000);
          expect(rules.startSeconds).toBeLessThanOrEqual(Math.max(start + seconds, clock.wall / 1000));
          expect(rules.startSeconds).toBeLessThanOrEqual(rules.endSeconds);
        }
      }),
    );
  });

  it('lets no end that was judged by a believed time gain time again', () => {
    fc.assert(
      fc.property(moves, (history) => {
        const [clock, rules] = create();
        let believed = START;
        for (const { pass: seconds, step: stepSeconds } of history) {
          believed += seconds;
          step(clock, stepSeconds);
          pass(clock, rules, seconds);
          expect(rules.endSeconds).toBeGreaterThanOrEqual(believed);
          // What starts are judged by is believed.
          believed = Math.max(believed, rules.startSeconds);
        }
      }),
    );
  });
});
