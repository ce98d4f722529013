import { CLASS, EDE, EDNS_OPTION, EDNS_UDP_BYTES, RRTYPE } from '../dns/constants.ts';
import { parseName } from '../dns/name.ts';
import type { RuleNotice } from './rule-table.ts';

/** What every blocked answer says of the node that gives it. */
export interface AnswerOptions {
  /** Primary server name in the SOA; at most 64 octets in wire form. */
  soaMname: string;
  /** Mailbox name in the SOA. */
  soaRname: string;
  /** Who filters: the ISP's name, for structured errors (`o`). */
  operator: string;
  /** Language tag of the texts, for structured errors (`l`). */
  language: string;
}

/** Offsets inside the SOA template that an answer fills in. */
export const SOA_TTL = 6;
/** Fixed octets of a record before its data, with a two-octet owner pointer. */
const RECORD_HEAD_BYTES = 12;

/** EXTRA-TEXT is cut to this many octets of UTF-8, so that question, SOA and OPT fit into 512. */
const MAX_EXTRA_TEXT_BYTES = 128;
const MAX_STRUCTURED_BYTES = 400;

/** Secondary timers of the SOA. Nobody transfers this zone; the values only have to be plausible. */
const SOA_REFRESH = 3600;
const SOA_RETRY = 600;
const SOA_EXPIRE = 86400;

/**
 * Composes the SOA record of every negative answer (RFC 2308 §3): the owner is a pointer and the TTL and MINIMUM are zero
 * until an answer fills them in.
 */
export function composeSoaTemplate(options: AnswerOptions, serial: number): Uint8Array {
  const data = Buffer.concat([parseName(options.soaMname), parseName(options.soaRname), Buffer.alloc(20)]);
  const timers = data.length - 20;
  [serial, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, 0].forEach((value, i) => {
    data.writeUInt32BE(value >>> 0, timers + i * 4);
  });
  const head = Buffer.alloc(RECORD_HEAD_BYTES);
  head.writeUInt16BE(RRTYPE.SOA, 2);
  head.writeUInt16BE(CLASS.IN, 4);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

/** A notice's OPT records: `structured` and `brief` are for clients that asked for structured errors. */
export interface OptTemplates {
  plain: Uint8Array;
  structured: Uint8Array;
  brief: Uint8Array;
}

/**
 * Composes a notice's OPT records: own UDP size, version 0, no flags, and EDE 16 *Censored* (RFC 8914 §4.17: an external
 * requirement on the operator). The structured text is the minified JSON of draft-ietf-dnsop-structured-dns-error: contact,
 * justification, organisation, language; the brief one keeps the contact alone.
 */
export function composeOptTemplates(options: AnswerOptions, notice: RuleNotice): OptTemplates {
  const contact = notice.contacts.slice(0, 2);
  const justification = `${notice.authority}: notice ${notice.reference}`;
  const full = JSON.stringify({ c: contact, j: justification, o: options.operator, l: options.language });
  const short = JSON.stringify({ c: contact });
  const brief = Buffer.byteLength(short) <= MAX_STRUCTURED_BYTES ? short : '{"c":[]}';
  return {
    plain: composeOpt(EDE.CENSORED, cutUtf8(`notice ${notice.reference}`, MAX_EXTRA_TEXT_BYTES)),
    structured: composeOpt(EDE.CENSORED, Buffer.byteLength(full) <= MAX_STRUCTURED_BYTES ? full : brief),
    brief: composeOpt(EDE.CENSORED, brief),
  };
}

/** Composes an OPT record with one EDE option; `text` may be empty. */
export function composeOpt(infoCode: number, text: string): Uint8Array {
  const extra = Buffer.from(text);
  const opt = Buffer.alloc(11 + 6 + extra.length);
  opt.writeUInt16BE(RRTYPE.OPT, 1);
  opt.writeUInt16BE(EDNS_UDP_BYTES, 3);
  opt.writeUInt16BE(6 + extra.length, 9);
  opt.writeUInt16BE(EDNS_OPTION.EDE, 11);
  opt.writeUInt16BE(2 + extra.length, 13);
  opt.writeUInt16BE(infoCode, 15);
  extra.copy(opt, 17);
  return opt;
}

/** Cuts text to at most `bytes` octets of UTF-8 at a character boundary. */
function cutUtf8(text: string, bytes: number): string {
  const buffer = Buffer.from(text);
  if (buffer.length <= bytes) return text;
  let end = bytes;
  while ((buffer[end]! & 0xc0) === 0x80) end--;
  return buffer.toString('utf8', 0, end);
}
