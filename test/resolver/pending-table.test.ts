import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NONE, PendingTable } from '../../src/resolver/pending-table.ts';
import { createRandom } from '../rules/fixture.ts';

const CAPACITY = 8;

/** What the table must be: the slots in use, sent longest ago first. */
interface Model {
  slots: { slot: number; id: number; sentAt: number }[];
  now: number;
}

type Step = fc.Command<Model, PendingTable>;

/** The slots in the table's own order. */
function order(table: PendingTable): number[] {
  const slots = [];
  for (let slot = table.oldest; slot !== NONE && slots.length <= CAPACITY; slot = table.following(slot))
    slots.push(slot);
  return slots;
}

/** Everything that must hold after each step. */
function compare(model: Model, table: PendingTable): void {
  const { slots } = model;
  expect(table.count).toBe(slots.length);
  expect(order(table)).toEqual(slots.map(({ slot }) => slot));
  expect(slots.map(({ slot }) => table.sentAtMillis[slot])).toEqual(slots.map(({ sentAt }) => sentAt));
  expect(slots.map(({ slot }) => table.wireId[slot])).toEqual(slots.map(({ id }) => id));
  expect(new Set(slots.map(({ id }) => id)).size).toBe(slots.length);
  for (const { slot, id } of slots) expect(table.find(id)).toBe(slot);
}

/** Makes a step that picks one of the slots in use. */
function onSlot(name: string, run: (model: Model, table: PendingTable, at: number) => void) {
  return fc.nat().map(
    (pick): Step => ({
      check: (model) => model.slots.length > 0,
      run(model, table) {
        run(model, table, pick % model.slots.length);
        compare(model, table);
      },
      toString: () => `${name}(${pick})`,
    }),
  );
}

const send = fc.nat(100).map(
  (millis): Step => ({
    check: () => true,
    run(model, table) {
      model.now += millis;
      const slot = table.take();
      if (model.slots.length === CAPACITY) {
        expect(slot).toBe(NONE);
      } else {
        expect(slot).toBeGreaterThanOrEqual(0);
        expect(slot).toBeLessThan(CAPACITY);
        expect(model.slots.map((each) => each.slot)).not.toContain(slot);
        table.markSent(slot, model.now);
        model.slots.push({ slot, id: table.wireId[slot]!, sentAt: model.now });
      }
      compare(model, table);
    },
    toString: () => `send(+${millis})`,
  }),
);

const release = onSlot('release', (model, table, at) => {
  const [{ slot, id }] = model.slots.splice(at, 1) as [Model['slots'][0]];
  table.release(slot);
  expect(table.find(id)).toBe(NONE);
});

const retry = onSlot('retry', (model, table, at) => {
  const [each] = model.slots.splice(at, 1) as [Model['slots'][0]];
  table.unlink(each.slot);
  table.renewId(each.slot);
  table.markSent(each.slot, model.now);
  if (table.wireId[each.slot] !== each.id) expect(table.find(each.id)).toBe(NONE);
  model.slots.push({ slot: each.slot, id: table.wireId[each.slot]!, sentAt: model.now });
});

describe('PendingTable', () => {
  it('keeps order, identifiers and capacity through any course of steps', () => {
    const steps = fc.commands([send, send, release, retry], { maxCommands: 80 });
    fc.assert(
      fc.property(steps, fc.integer(), (commands, seed) => {
        const random = createRandom(seed);
        // Identifiers out of sixteen, so that the random ones meet those in use all the time.
        fc.modelRun(
          () => ({ model: { slots: [], now: 0 }, real: new PendingTable(CAPACITY, () => random() & 15) }),
          commands,
        );
      }),
      { numRuns: 300 },
    );
  });

  it('can be filled and emptied again and again', () => {
    const random = createRandom(1);
    const table = new PendingTable(1_000, () => random() & 0xffff);
    for (let round = 0; round < 3; round++) {
      const slots = Array.from({ length: 1_000 }, (_, i) => {
        const slot = table.take();
        table.markSent(slot, i);
        return slot;
      });
      expect([...slots].sort((a, b) => a - b)).toEqual(Array.from({ length: 1_000 }, (_, i) => i));
      expect(table.take()).toBe(NONE);
      for (const slot of slots) table.release(slot);
      expect([table.count, table.oldest]).toEqual([0, NONE]);
    }
    for (let id = 0; id < 65_536; id++) expect(table.find(id)).toBe(NONE);
  });
});
