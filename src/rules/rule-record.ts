import { WartaError } from '../base/errors.ts';
import { MAX_NAME_BYTES } from '../dns/constants.ts';
import { writeName } from '../dns/name.ts';
import { NO_END, NOTICE_SHIFT, RULE_BIT } from './layout.ts';

/** What a rule's name covers: only itself, or itself and everything below. */
export type Trigger = 'exact' | 'subtree';

/**
 * What a rule does to the names it covers: `block` them; `redirect` them to the notice page; `passthru` takes them out of its
 * own entry's rules; `steer` sends them through the gateway, which judges by the page's address.
 */
export type RuleAction = 'block' | 'redirect' | 'passthru' | 'steer';

const ACTION_BITS = {
  block: 0,
  redirect: RULE_BIT.REDIRECT,
  passthru: RULE_BIT.PASSTHRU,
  steer: RULE_BIT.STEER,
} as const satisfies Record<RuleAction, number>;

/** Octets that must be free where `writeRuleName` writes. */
export const RULE_NAME_ROOM = MAX_NAME_BYTES + 2;

/**
 * Writes a rule's name in wire form at `offset` of `out` and returns the offset of its root octet.
 *
 * @throws {WartaError} `name-invalid` for what is no name, or of one label: a top-level domain is never a rule.
 */
export function writeRuleName(name: string, out: Uint8Array, offset: number): number {
  const end = writeName(name, out, offset);
  if (end < 0 || out[offset + out[offset]! + 1] === 0) {
    throw new WartaError('name-invalid', `'${name}' cannot be a rule: it needs at least two valid labels`);
  }
  return end - 1;
}

/** Returns the number of labels of a wire name. */
export function countLabels(wire: Uint8Array, offset: number): number {
  let labels = 0;
  for (let at = offset; wire[at] !== 0; at += wire[at]! + 1) labels++;
  return labels;
}

/** Returns where the root octet of a wire name is. */
export function findRoot(wire: Uint8Array, offset: number): number {
  let at = offset;
  while (wire[at] !== 0) at += wire[at]! + 1;
  return at;
}

/** Returns the last word of a rule. */
export function composeBits(trigger: Trigger, action: RuleAction, notice: number): number {
  const subtree = trigger === 'subtree' ? RULE_BIT.SUBTREE : 0;
  return ((notice << NOTICE_SHIFT) | subtree | ACTION_BITS[action]) >>> 0;
}

/** Keeps a time within 32 bits; the year 2106 and later read as no end. */
export function clampSeconds(seconds: number): number {
  return Math.max(0, Math.min(NO_END, Math.floor(seconds)));
}

/** Returns how many words hold so many octets. */
export function wordsOf(sizeBytes: number): number {
  return (sizeBytes + 3) >>> 2;
}
