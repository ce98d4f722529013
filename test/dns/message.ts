import type DNS from 'dns2';
import { Packet } from 'dns2';

/** What tests compose by hand, so that any part can be wrong. Numbers go on the wire as they are. */
export interface RecordSpec {
  owner?: Uint8Array;
  type: number;
  class?: number;
  ttl?: number;
  data?: Uint8Array;
  /** RDLENGTH, when it shall lie. */
  length?: number;
}

export interface OptSpec {
  udpBytes?: number;
  extendedRcode?: number;
  version?: number;
  flags?: number;
  options?: readonly Uint8Array[];
}

export interface QuerySpec {
  id?: number;
  /** Third and fourth header octet; RD by default. */
  flags?: number;
  name?: string | Uint8Array;
  qtype?: number;
  qclass?: number;
  counts?: readonly [number, number, number, number];
  answers?: readonly Uint8Array[];
  additionals?: readonly Uint8Array[];
  opt?: OptSpec;
  /** Octets behind the message. */
  trailing?: Uint8Array;
}

/** Returns the 16-bit words as octets. */
export function words(...values: number[]): Uint8Array {
  return Uint8Array.from(values.flatMap((value) => [(value >>> 8) & 0xff, value & 0xff]));
}

/** Joins octets. */
export function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Returns the wire form of a dotted name, by `dns2`, which keeps the case. */
export function wireName(name: string): Uint8Array {
  return new Uint8Array(Packet.Name.encode(name === '.' ? '' : name));
}

/** Composes one EDNS option. */
export function composeOption(code: number, data: Uint8Array = new Uint8Array(0), length = data.length): Uint8Array {
  return join(words(code, length), data);
}

/** Composes one record. */
export function composeRecord(record: RecordSpec): Uint8Array {
  const { owner = Uint8Array.of(0), type, ttl = 0, data = new Uint8Array(0) } = record;
  const head = words(type, record.class ?? 1, ttl >>> 16, ttl & 0xffff, record.length ?? data.length);
  return join(owner, head, data);
}

/** Composes an OPT record (RFC 6891 §6.1.2). */
export function composeOpt(opt: OptSpec): Uint8Array {
  const high = ((opt.extendedRcode ?? 0) << 8) | (opt.version ?? 0);
  const ttl = ((high << 16) | (opt.flags ?? 0)) >>> 0;
  return composeRecord({ type: 41, class: opt.udpBytes ?? 1232, ttl, data: join(...(opt.options ?? [])) });
}

/** Composes a message with one question; the counts follow from the parts unless they are given. */
export function composeQuery(spec: QuerySpec = {}): Uint8Array {
  const { answers = [], opt } = spec;
  const additionals = [...(spec.additionals ?? []), ...(opt === undefined ? [] : [composeOpt(opt)])];
  const name = typeof spec.name === 'object' ? spec.name : wireName(spec.name ?? 'www.example.com');
  return join(
    words(spec.id ?? 0x1234, spec.flags ?? 0x0100, ...(spec.counts ?? [1, answers.length, 0, additionals.length])),
    name,
    words(spec.qtype ?? 1, spec.qclass ?? 1),
    ...answers,
    ...additionals,
    spec.trailing ?? new Uint8Array(0),
  );
}

/** A message as `dns2` reads it, with the header bits that its types leave out. */
export type ParsedMessage = Omit<Packet, 'header'> & { header: DNS.Packet.Header & { ad: 0 | 1; cd: 0 | 1 } };

/** Parses a message with `dns2`, a codec that shares nothing with ours; throws when any part of it is malformed. */
export function parseMessage(message: Uint8Array): ParsedMessage {
  const packet = (Packet as unknown as { parse(buffer: Buffer): ParsedMessage }).parse(Buffer.from(message));
  if (packet.errors.length > 0) throw packet.errors[0];
  return packet;
}

/** The OPT record of a parsed message. */
export function optOf(message: ParsedMessage): DNS.Packet.Resource | undefined {
  return message.additionals.find((record) => record.type === 41);
}

/** The EDE option of a parsed message. */
export function edeOf(message: ParsedMessage): { infoCode: number; extraText: string } | undefined {
  return optOf(message)?.rdata?.find((option) => option.ednsCode === 15) as DNS.Packet.EdeOption | undefined;
}

/** Every EDNS option by code, as raw octets: `dns2` drops those it does not know. OPT must be the last record. */
export function readOptions(message: Uint8Array): Map<number, Uint8Array> {
  const opt = optOf(parseMessage(message));
  if (opt === undefined) return new Map();
  for (let at = message.length - 11; at > 0; at--) {
    const found = readOptionsAt(message, at, opt.class);
    if (found !== undefined) return found;
  }
  throw new Error('no OPT record at the end of the message');
}

/** The options of an OPT record at `at` that ends with the message. */
function readOptionsAt(message: Uint8Array, at: number, udpBytes: number): Map<number, Uint8Array> | undefined {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const isOpt = message[at] === 0 && view.getUint16(at + 1) === 41 && view.getUint16(at + 3) === udpBytes;
  if (!isOpt || view.getUint16(at + 9) !== message.length - at - 11) return undefined;
  const options = new Map<number, Uint8Array>();
  for (let option = at + 11; option < message.length; ) {
    const size = view.getUint16(option + 2);
    options.set(view.getUint16(option), message.slice(option + 4, option + 4 + size));
    option += 4 + size;
  }
  return options;
}
