import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Courtesy, type Machine } from '../../src/sync/courtesy.ts';

const MINUTE = 60_000;
/** The bounds that courtesy.ts promises. */
const PACED_MILLIS = 5 * MINUTE;
const LONGEST_PAUSE_MILLIS = 1_000;
const RATIO = 24;
/** How often the machine is looked at, at most. */
const LOOK_MILLIS = 100;

/** A machine of two processors, one of which works for the caller, with others that want a share of the time. */
class FakeMachine implements Machine {
  now = 1_000;
  idle = 77_000;
  /** Processors that others keep busy, whether the caller works or pauses. */
  wanted = 0;
  readonly pauses: number[] = [];

  monotonicMillis(): number {
    return this.now;
  }

  idleMillis(): number {
    return this.idle;
  }

  pause(millis: number): void {
    this.pauses.push(millis);
    this.#pass(millis, 0);
  }

  work(millis: number): void {
    this.#pass(millis, 1);
  }

  #pass(millis: number, own: number): void {
    this.now += millis;
    this.idle += millis * Math.max(0, 2 - own - this.wanted);
  }

  get paused(): number {
    return this.pauses.reduce((sum, millis) => sum + millis, 0);
  }
}

/** Works in steps for so long, and gives way after each. */
function workFor(machine: FakeMachine, courtesy: Courtesy, millis: number, stepMillis = 5): void {
  for (const end = machine.now + millis; machine.now < end; ) {
    machine.work(stepMillis);
    courtesy.giveWay();
  }
}

describe('courtesy', () => {
  it('never pauses on a quiet machine', () => {
    const machine = new FakeMachine();
    workFor(machine, new Courtesy(machine), MINUTE);
    expect(machine.pauses).toEqual([]);
  });

  it('takes a small part of one core on a busy machine', () => {
    const machine = new FakeMachine();
    machine.wanted = 2;
    const began = machine.now;
    workFor(machine, new Courtesy(machine), MINUTE);
    const worked = machine.now - began - machine.paused;
    expect(worked / (machine.now - began)).toBeGreaterThan(1 / (RATIO + 2));
    expect(worked / (machine.now - began)).toBeLessThan(1 / RATIO);
  });

  it('begins to pause when the machine gets busy, and stops when it is quiet again', () => {
    const machine = new FakeMachine();
    const courtesy = new Courtesy(machine);
    workFor(machine, courtesy, 1_000);
    machine.wanted = 2;
    workFor(machine, courtesy, 2_000);
    const before = machine.pauses.length;
    expect(before).toBeGreaterThan(10);
    machine.wanted = 0;
    workFor(machine, courtesy, 10_000);
    expect(machine.pauses.length).toBeLessThan(before + 5);
  });

  it('pauses for a second at most, also after long work, and not at all after five minutes', () => {
    const step = fc.record({ work: fc.integer({ min: 0, max: 2_000 }), wanted: fc.constantFrom(0, 1, 1.9, 2, 4) });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 400 }), (steps) => {
        const machine = new FakeMachine();
        const began = machine.now;
        const courtesy = new Courtesy(machine);
        for (const { work, wanted } of steps) {
          machine.wanted = wanted;
          machine.work(work);
          const elapsed = machine.now - began;
          const before = machine.pauses.length;
          courtesy.giveWay();
          const pauses = machine.pauses.slice(before);
          expect(pauses.length).toBeLessThanOrEqual(1);
          for (const millis of pauses) {
            expect(millis).toBeLessThanOrEqual(Math.min(LONGEST_PAUSE_MILLIS, RATIO * Math.max(work, LOOK_MILLIS)));
            expect(elapsed).toBeLessThanOrEqual(PACED_MILLIS);
          }
        }
        expect(machine.paused).toBeLessThanOrEqual(PACED_MILLIS + LONGEST_PAUSE_MILLIS);
      }),
    );
    const machine = new FakeMachine();
    machine.wanted = 2;
    const courtesy = new Courtesy(machine);
    workFor(machine, courtesy, PACED_MILLIS, 50);
    expect(Math.max(...machine.pauses)).toBe(Math.min(LONGEST_PAUSE_MILLIS, RATIO * 50));
    machine.work(500);
    const before = machine.pauses.length;
    workFor(machine, courtesy, MINUTE);
    expect(machine.pauses).toHaveLength(before);
  });

  it('is not fooled by its own work: one processor left idle is quiet, one taken too is not', () => {
    const paused = [0, 0.7, 1, 2].map((wanted) => {
      const machine = new FakeMachine();
      machine.wanted = wanted;
      workFor(machine, new Courtesy(machine), 400);
      return machine.pauses.length > 0;
    });
    expect(paused).toEqual([false, false, true, true]);
  });
});
