import { HEADER_BYTES, MAX_NAME_BYTES, RRTYPE } from '../dns/constants.ts';
import { expandName, skipName } from '../dns/name.ts';
import { NO_RULE } from '../rules/layout.ts';
import type { RuleTable } from '../rules/rule-table.ts';

/** Fixed octets of a record behind its owner name. */
const RECORD_FIXED_BYTES = 10;

/**
 * Finds a blocked name that a reply leads to: the target of a CNAME or DNAME, the TargetName of SVCB or HTTPS (RFC 9460).
 * Without it a listed name is reached through any alias of it. Every reply is checked, also one for a name asked before.
 */
export class TargetCheck {
  readonly #name = new Uint8Array(MAX_NAME_BYTES + 1);

  /** Returns the rule that covers a target in the answer section of `wire[start, start + length)`, or `NO_RULE`. */
  findBlockedTarget(table: RuleTable, wire: Uint8Array, start: number, length: number): number {
    const end = start + length;
    const answers = (wire[start + 6]! << 8) | wire[start + 7]!;
    if (answers === 0) return NO_RULE;
    let at = start + HEADER_BYTES;
    for (let questions = (wire[start + 4]! << 8) | wire[start + 5]!; questions > 0; questions--) {
      at = skipName(wire, at, end) + 4;
      if (at < start + HEADER_BYTES || at > end) return NO_RULE;
    }
    for (let record = 0; record < answers; record++) {
      at = skipName(wire, at, end);
      if (at < 0 || at + RECORD_FIXED_BYTES > end) return NO_RULE;
      const type = (wire[at]! << 8) | wire[at + 1]!;
      const data = at + RECORD_FIXED_BYTES;
      const next = data + ((wire[at + 8]! << 8) | wire[at + 9]!);
      if (next > end) return NO_RULE;
      const name = targetOffset(type, data);
      if (name >= 0 && expandName(wire, start, next, name, this.#name) > 1) {
        const rule = table.findRule(this.#name, 0);
        if (rule !== NO_RULE) return rule;
      }
      at = next;
    }
    return NO_RULE;
  }
}

/** Offset of the target name in the data of a record of this type, or -1. SVCB data starts with a priority. */
function targetOffset(type: number, data: number): number {
  if (type === RRTYPE.CNAME || type === RRTYPE.DNAME) return data;
  return type === RRTYPE.SVCB || type === RRTYPE.HTTPS ? data + 2 : -1;
}
