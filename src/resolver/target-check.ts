import { FLAGS3, HEADER_BYTES, MAX_NAME_BYTES, RCODE, RRTYPE } from '../dns/constants.ts';
import { expandName, LOWER, skipName, skipPlainName } from '../dns/name.ts';
import { NO_RULE } from '../rules/layout.ts';
import type { RuleTable } from '../rules/rule-table.ts';

/** Fixed octets of a record behind its owner name. */
const RECORD_FIXED_BYTES = 10;

/**
 * Finds a blocked name that a reply leads to: the target of a CNAME, the name a DNAME turns the QNAME into (RFC 6672 §2.2),
 * the TargetName of SVCB or HTTPS (RFC 9460). Without it a listed name is reached through any alias of it. Every reply is
 * checked, also one for a name asked before. A QNAME that is an exclusion of the target's own entry passes: it must stay
 * reachable, whatever it is an alias of.
 */
export class TargetCheck {
  readonly #name = new Uint8Array(MAX_NAME_BYTES + 1);
  readonly #owner = new Uint8Array(MAX_NAME_BYTES + 1);

  /** Returns the rule that covers a target in the answer section of `wire[start, start + length)`, or `NO_RULE`. */
  findBlockedTarget(table: RuleTable, wire: Uint8Array, start: number, length: number): number {
    const end = start + length;
    const qname = start + HEADER_BYTES;
    const answers = (wire[start + 6]! << 8) | wire[start + 7]!;
    if (answers === 0 || wire[start + 4] !== 0 || wire[start + 5] !== 1) return NO_RULE;
    const qnameEnd = skipPlainName(wire, qname, end);
    if (qnameEnd < 0 || qnameEnd + 4 > end) return NO_RULE;
    let at = qnameEnd + 4;
    for (let record = 0; record < answers; record++) {
      const owner = at;
      at = skipName(wire, at, end);
      if (at < 0 || at + RECORD_FIXED_BYTES > end) return NO_RULE;
      const type = (wire[at]! << 8) | wire[at + 1]!;
      const data = at + RECORD_FIXED_BYTES;
      const next = data + ((wire[at + 8]! << 8) | wire[at + 9]!);
      if (next > end) return NO_RULE;
      if (this.#readTarget(type, wire, start, next, owner, data)) {
        const rule = table.findTargetRule(this.#name, 0, wire, qname);
        if (rule !== NO_RULE) return rule;
      }
      at = next;
    }
    return NO_RULE;
  }

  /** Reads the target of a record into `#name`; false when it has none. SVCB data starts with a priority. */
  #readTarget(type: number, wire: Uint8Array, start: number, end: number, owner: number, data: number): boolean {
    if (type === RRTYPE.CNAME) return expandName(wire, start, end, data, this.#name) > 1;
    if (type === RRTYPE.SVCB || type === RRTYPE.HTTPS) return expandName(wire, start, end, data + 2, this.#name) > 1;
    return type === RRTYPE.DNAME && this.#substitute(wire, start, end, owner, data);
  }

  /** Puts the QNAME with its DNAME owner replaced by the target into `#name`; false when the QNAME is not below the owner. */
  #substitute(wire: Uint8Array, start: number, end: number, owner: number, data: number): boolean {
    const qname = start + HEADER_BYTES;
    const ownerBytes = expandName(wire, start, end, owner, this.#owner);
    const qnameBytes = skipPlainName(wire, qname, end) - qname;
    const kept = qnameBytes - ownerBytes;
    if (ownerBytes < 1 || kept <= 0 || !startsLabel(wire, qname, kept)) return false;
    for (let i = 0; i < ownerBytes; i++) {
      if (LOWER[wire[qname + kept + i]!] !== LOWER[this.#owner[i]!]) return false;
    }
    const targetBytes = expandName(wire, start, end, data, this.#owner);
    if (targetBytes < 1 || kept + targetBytes > MAX_NAME_BYTES) return false;
    this.#name.set(wire.subarray(qname, qname + kept), 0);
    this.#name.set(this.#owner.subarray(0, targetBytes), kept);
    return true;
  }
}

/** Whether a label of the name at `name` starts `offset` octets into it. */
function startsLabel(wire: Uint8Array, name: number, offset: number): boolean {
  let at = name;
  while (at < name + offset) at += wire[at]! + 1;
  return at === name + offset;
}

/** Whether a reply answers, without an error, with records of which none is a signature (RFC 4034 §3). */
export function isUnsignedAnswer(wire: Uint8Array, start: number, length: number): boolean {
  const end = start + length;
  if (length < HEADER_BYTES || (wire[start + 3]! & FLAGS3.RCODE) !== RCODE.NOERROR) return false;
  if (wire[start + 4] !== 0 || wire[start + 5] !== 1) return false;
  const answers = (wire[start + 6]! << 8) | wire[start + 7]!;
  let at = skipPlainName(wire, start + HEADER_BYTES, end);
  if (at < 0) return false;
  at += 4;
  for (let record = 0; record < answers; record++) {
    at = skipName(wire, at, end);
    if (at < 0 || at + RECORD_FIXED_BYTES > end) return false;
    if (((wire[at]! << 8) | wire[at + 1]!) === RRTYPE.RRSIG) return false;
    at += RECORD_FIXED_BYTES + ((wire[at + 8]! << 8) | wire[at + 9]!);
  }
  return answers > 0 && at <= end;
}
