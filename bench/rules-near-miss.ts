import { writeName } from '../src/dns/name.ts';
import { NO_RULE } from '../src/rules/layout.ts';
import type { RuleTable } from '../src/rules/rule-table.ts';
import { nameAt, unlistedQueryAt } from './names.ts';

const OTHER_SUFFIXES = ['com', 'net', 'org', 'my', 'com.my', 'io'];

/** A small generator of 32-bit words, the same in every run. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let word = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
    return (word ^ (word >>> 15)) >>> 0;
  };
}

/**
 * Returns a name that is not covered by the list of `nameAt(0 … ruleCount - 1)`: a random one, or one as close to a listed
 * name as can be. Each kind is outside the list by construction: a listed name is an optional host, a label of a word and a
 * token of seven characters, and the one suffix that belongs to the token; and no word holds a `q`.
 */
function missAt(position: number, ruleCount: number, random: () => number): string {
  const listed = nameAt(random() % ruleCount);
  const dot = listed.indexOf('.');
  const at = random() % dot;
  switch (position % 8) {
    case 0:
      return unlistedQueryAt(position, ruleCount);
    case 1:
      return `${random().toString(36)}${random().toString(36)}.${OTHER_SUFFIXES[random() % OTHER_SUFFIXES.length]}`;
    case 2:
      return `x${listed}`;
    case 3:
      return listed.slice(dot + 1);
    case 4:
      return changeSuffix(listed, random());
    case 5:
      return `${listed}.com`;
    case 6:
      return `${listed.slice(0, at)}q${listed.slice(at)}`;
    default:
      return `${listed.slice(0, dot)}-${listed.slice(dot + 1)}`;
  }
}

/** Puts the registered label, the one with a token and so a hyphen, under another suffix. */
function changeSuffix(listed: string, random: number): string {
  const labels = listed.split('.');
  const registered = labels.findIndex((label) => label.includes('-'));
  const suffix = labels.slice(registered + 1).join('.');
  const others = OTHER_SUFFIXES.filter((other) => other !== suffix);
  return [...labels.slice(0, registered + 1), others[random % others.length]].join('.');
}

/**
 * Looks `count` names up that are not listed and returns how many are blocked: must be none. `onProgress` is told now and
 * then how many are done.
 */
export function countBlockedMisses(
  table: RuleTable,
  ruleCount: number,
  count: number,
  onProgress: (done: number) => void,
): { blocked: number; example: string | undefined } {
  const random = createRandom(ruleCount);
  const wire = new Uint8Array(300);
  let blocked = 0;
  let example: string | undefined;
  for (let position = 0; position < count; position++) {
    const name = missAt(position, ruleCount, random);
    writeName(name, wire, 0);
    if (table.findRule(wire, 0) !== NO_RULE) {
      blocked++;
      example ??= name;
    }
    if (position % 10_000 === 0) onProgress(position);
  }
  return { blocked, example };
}
