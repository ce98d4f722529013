import { randomInt } from 'node:crypto';
import { type EdeOption, Packet } from 'dns2';
import { describeError } from '../base/errors.ts';
import { EDE, EDNS_UDP_BYTES, RCODE } from '../dns/constants.ts';

/** A question in wire form. */
export interface WireQuestion {
  readonly name: string;
  readonly type: number;
  readonly id: number;
  readonly wire: Buffer;
}

/** What a resolver answered, as far as a probe looks at it. */
export interface DnsAnswer {
  readonly rcode: number;
  readonly truncated: boolean;
  /** Number of records in the answer section. */
  readonly answers: number;
  /** Whether the resolver speaks EDNS, without which it cannot give a reason. */
  readonly edns: boolean;
  /** Extended errors (RFC 8914). */
  readonly errors: readonly { readonly code: number; readonly text: string }[];
}

/**
 * Composes a question with an OPT record, by another codec than the resolver's own. `id` is unpredictable unless given:
 * over HTTPS it is 0, so that answers can be cached (RFC 8484 §4.1).
 */
export function composeQuestion(name: string, type: number, id = randomInt(1, 0x10000)): WireQuestion {
  const query = new Packet();
  query.header = new Packet.Header({ id, rd: 1 });
  query.questions.push(new Packet.Question(name, type, Packet.CLASS.IN));
  query.additionals.push(Packet.Resource.EDNS([], { udpPayloadSize: EDNS_UDP_BYTES, doFlag: false }));
  return { name, type, id, wire: query.toBuffer() };
}

/** Reads an answer to a question; the reason as text when it is none. */
export function readAnswer(message: Buffer, question: WireQuestion): DnsAnswer | string {
  let packet: Packet;
  try {
    packet = Packet.parse(message);
  } catch (error) {
    return `what came is no DNS message: ${describeError(error)}`;
  }
  const { header, questions, additionals } = packet;
  if (header.qr !== 1 || header.id !== question.id) return 'what came does not answer this query';
  const [echoed] = questions;
  const about = echoed === undefined || (echoed.type === question.type && isSameName(echoed.name, question.name));
  if (!about) return `the answer is about ${echoed.name}`;
  if (echoed === undefined && header.rcode === RCODE.NOERROR) return 'the answer has no question';
  const opts = additionals.filter(({ type }) => type === Packet.TYPE.EDNS);
  const errors = opts.flatMap(({ rdata }) => rdata ?? []).filter(isError);
  return {
    rcode: header.rcode,
    truncated: header.tc === 1,
    answers: packet.answers.length,
    edns: opts.length > 0,
    errors: errors.map(({ infoCode, extraText }) => ({ code: infoCode, text: extraText })),
  };
}

function isSameName(one: string, other: string): boolean {
  return one.replace(/\.$/, '').toLowerCase() === other.replace(/\.$/, '').toLowerCase();
}

function isError(option: { ednsCode: number }): option is EdeOption {
  return option.ednsCode === Packet.EDNS_OPTION_CODE.EDE;
}

/** Extended errors by which a resolver says that it withholds a name. */
const BLOCKING: ReadonlySet<number> = new Set([EDE.FORGED_ANSWER, EDE.BLOCKED, EDE.CENSORED, EDE.FILTERED]);

/** What an answer says about a name. */
export interface AnswerVerdict {
  /**
   * `blocked`: withheld, and said so. `denied`: no such name or no such record, without a reason; it may be true.
   * `open`: records came. `failed`: nothing can be told.
   */
  readonly kind: 'blocked' | 'denied' | 'open' | 'failed';
  /** The extended error that says so. */
  readonly code?: number;
  /** The notice's reference, when the answer names one. */
  readonly reference?: string;
  /** How a block was given. */
  readonly form?: 'nxdomain' | 'nodata' | 'records';
}

/** Says what an answer means for a name. */
export function judgeAnswer({ rcode, answers, errors }: DnsAnswer): AnswerVerdict {
  const form = rcode === RCODE.NXDOMAIN ? 'nxdomain' : answers > 0 ? 'records' : 'nodata';
  const block = errors.find(({ code }) => BLOCKING.has(code));
  if (block !== undefined) {
    const reference = /\bnotice ([A-Za-z0-9][A-Za-z0-9 ()./_-]{0,119})/.exec(block.text)?.[1];
    return { kind: 'blocked', code: block.code, reference, form };
  }
  if (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) return { kind: 'failed' };
  return form === 'records' ? { kind: 'open' } : { kind: 'denied', form };
}
