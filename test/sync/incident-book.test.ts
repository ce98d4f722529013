import { describe, expect, test } from 'vitest';
import { type ErrorCode, WartaError } from '../../src/base/errors.ts';
import { type Incident, IncidentBook } from '../../src/sync/incident-book.ts';

/** A book, and what it told. */
function open() {
  const told: Incident[] = [];
  const book = new IncidentBook((incident) => told.push(incident));
  const note = (code: ErrorCode, reason: string, atSeconds: number) =>
    book.note(new WartaError(code, reason), atSeconds);
  return { book, note, told: () => told.map(({ code, reason, count }) => `${code} ${reason} ${count}`) };
}

describe('the incident book', () => {
  test('counts by code and keeps the last reason', () => {
    const { book, note } = open();
    note('mirror-failed', 'one', 100);
    note('mirror-failed', 'two', 200);
    note('note-invalid', 'three', 300);
    expect(book.list()).toEqual([
      { code: 'mirror-failed', reason: 'two', count: 2, firstSeconds: 100, lastSeconds: 200 },
      { code: 'note-invalid', reason: 'three', count: 1, firstSeconds: 300, lastSeconds: 300 },
    ]);
  });

  test('what it gives out does not change afterwards', () => {
    const { book, note } = open();
    note('mirror-failed', 'one', 100);
    const [before] = book.list();
    note('mirror-failed', 'two', 200);
    expect(before).toMatchObject({ reason: 'one', count: 1 });
  });

  test('tells the first of a kind, and a failure that lasts once', () => {
    const { note, told } = open();
    for (let i = 0; i < 1000; i++) note('mirror-failed', 'the same', i * 10);
    note('note-invalid', 'another', 0);
    expect(told()).toEqual(['mirror-failed the same 1', 'note-invalid another 1']);
  });

  test('tells a changing reason every ten minutes at most', () => {
    const { note, told } = open();
    for (let i = 0; i < 100; i++) note('annex-missing', `annex ${i} is not there`, i * 10);
    expect(told()).toEqual(['annex-missing annex 0 is not there 1', 'annex-missing annex 60 is not there 61']);
  });

  test('counts a fault of ours as one of the store', () => {
    const { book } = open();
    book.note(new TypeError('x is not a function'), 1);
    book.note('not even an error', 2);
    expect(book.list()).toMatchObject([{ code: 'store-failed', count: 2, reason: 'not even an error' }]);
  });
});
