import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { composeLeaf } from '../../src/register/leaf.ts';
import { LeafRecords, unwitnessedLeaves } from '../../src/sync/leaf-records.ts';

const NEVER = Number.POSITIVE_INFINITY;
const GARBAGE = Buffer.from('no leaf');

/** A leaf of that time; its envelope is none, which nothing here looks at. */
const leafAt = (seconds: number) => composeLeaf(Buffer.from('{"a":1}'), seconds);

function recordsOf(leaves: readonly Uint8Array[]): LeafRecords {
  const records = new LeafRecords((index) => leaves[index]!);
  for (const leaf of leaves) records.append(leaf);
  return records;
}

/** What holds each leaf back, if anything does. */
const holds = (records: LeafRecords, trustedUntilSeconds = NEVER) =>
  [...records.leaves(trustedUntilSeconds)].map(({ held, unreadable }) =>
    unreadable === undefined ? held : 'unreadable',
  );

describe('leaves of the log', () => {
  test('are described by number and time, and read when they are asked for', () => {
    let reads = 0;
    const records = new LeafRecords((index) => {
      reads++;
      return leafAt(1000 + index);
    });
    records.append(leafAt(1000));
    const [leaf] = records.leaves(NEVER);
    expect(leaf).toMatchObject({ name: '#0', key: '#0', integratedAtSeconds: 1000, held: undefined });
    expect(reads).toBe(0);
    expect(Buffer.from(leaf!.envelope).toString()).toBe('{"a":1}');
    expect(reads).toBe(1);
    expect(records.sizeBytes(0)).toBe(leafAt(1000).length);
  });

  test('may not go back in time, not even behind one that was held for it', () => {
    expect(holds(recordsOf([100, 200, 200, 150, 160, 199, 200, 201].map(leafAt)))).toEqual([
      undefined,
      undefined,
      undefined,
      'statement-backdated',
      'statement-backdated',
      'statement-backdated',
      undefined,
      undefined,
    ]);
  });

  test('that are none say nothing of the time', () => {
    const records = recordsOf([leafAt(200), GARBAGE, Buffer.alloc(0), leafAt(150), leafAt(200)]);
    expect(holds(records)).toEqual([undefined, 'unreadable', 'unreadable', 'statement-backdated', undefined]);
  });

  test('that came after trust ended are held, and counted wherever they stand', () => {
    const records = recordsOf([leafAt(100), leafAt(200), leafAt(300), GARBAGE]);
    expect(holds(records, 200)).toEqual([undefined, undefined, 'trust-expired', 'unreadable']);
    expect([99, 100, 200, 300].map((seconds) => records.countAfter(seconds))).toEqual([3, 2, 1, 0]);
  });

  test('as many as are held are counted, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.integer({ min: 1, max: 50 }))), fc.nat({ max: 60 }), (times, until) => {
        const records = recordsOf(times.map((time) => (time === null ? GARBAGE : leafAt(time))));
        const late = times.filter((time) => time !== null && time > until).length;
        expect(records.countAfter(until)).toBe(late);
        const held = holds(records, until).filter((hold) => hold === 'trust-expired').length;
        expect(held).toBeLessThanOrEqual(late);
      }),
    );
  });

  test('forgotten ones leave the rest as if they had never been', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 })),
        fc.nat({ max: 12 }),
        fc.integer({ min: 1, max: 9 }),
        (times, count, next) => {
          // biome-ignore format: one line
          const records = recordsOf(times.map(leafAt));
          records.truncate(count);
          records.append(leafAt(next));
          expect(holds(records)).toEqual(holds(recordsOf([...times.slice(0, count), next].map(leafAt))));
          expect(records.count).toBe(Math.min(count, times.length) + 1);
        },
      ),
    );
  });
});

test('leaves without witnesses are all held, whatever their time', () => {
  const leaves = [...unwitnessedLeaves(new Map([['aa', leafAt(5)], ['bb', GARBAGE]]))]; // biome-ignore format: short
  expect(leaves).toMatchObject([
    { name: 'unwitnessed aa', key: 'aa', held: 'statement-unwitnessed', integratedAtSeconds: 5 },
    { name: 'unwitnessed bb', key: 'bb', held: 'statement-unwitnessed', unreadable: expect.any(String) },
  ]);
});
