import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { playScenario, readScenario } from './scenario.ts';

const FOLDER = new URL('.', import.meta.url);
const scenarios = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => ({ name, ...readScenario(new URL(name, FOLDER)) }));

test.each(scenarios)('$name: $title', (scenario) => {
  const outcomes = playScenario(scenario);
  expect(outcomes.map(({ step, actual }) => ({ step, actual }))).toEqual(
    outcomes.map(({ step, expected }) => ({ step, actual: expected })),
  );
});

test('every way in which a notice starts, changes and ends has its scenario', () => {
  expect(scenarios.length).toBeGreaterThanOrEqual(20);
});
