import { pino } from 'pino';
import { expect, it } from 'vitest';
import { WartaError } from '../../../src/base/errors.ts';
import { tellEvent } from '../../../src/control/publishing/log-event.ts';

it('tells of several faults one by one, and of none what its cause quotes', () => {
  const lines: { msg: string; code?: string }[] = [];
  const log = pino({ base: undefined }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const cause = Object.assign(new Error('refused'), { detail: 'Failing row contains (owner@shop.example).' });
  const error = new AggregateError(
    [new WartaError('store-failed', 'the disk is full', { cause }), new WartaError('log-busy', 'wait')],
    'several chores failed',
  );
  tellEvent(log, { kind: 'fault', error });
  expect(lines.map(({ code, msg }) => [code, msg])).toEqual([
    ['store-failed', 'the disk is full'],
    ['log-busy', 'wait'],
  ]);
  expect(JSON.stringify(lines)).not.toContain('owner@shop.example');
});
