import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';
import { CLASS, EDE, FLAGS2, RCODE, RRTYPE } from '../dns/constants.ts';
import { LOWER, parseName } from '../dns/name.ts';
import type { QueryScan } from '../dns/query.ts';
import { composeEmptyAnswer } from '../rules/answer.ts';

/** What the resolver says about itself; plain data, so that it can be sent to a thread. */
export interface ResolverInformation {
  /** Its own name: what the certificates of DoT and DoH are for. Without it nothing is said. */
  name?: string;
  /** Ports of the encrypted listeners, if there are any. */
  dotPort?: number;
  dohPort?: number;
  /** Path of DoH, such as `/dns-query`. */
  dohPath: string;
  /** Addresses of the encrypted listeners, given as hints. */
  addresses: readonly string[];
  /** A page for people about this resolver. */
  infoUrl?: string;
  soaMname: string;
  soaRname: string;
  /** Some answers lead to the gateway, and say that they are forged. */
  forges?: boolean;
}

/** Long enough to be kept, short enough that a change of the configuration is seen the same hour. */
const TTL_SECONDS = 300;

/** Service parameters (RFC 9460 §14.3.2, RFC 9461 §5). */
const SVCPARAM = { ALPN: 1, PORT: 3, IPV4HINT: 4, IPV6HINT: 6, DOHPATH: 7 } as const;
const DOT_PORT = 853;
const DOH_PORT = 443;

/** `resolver.arpa` in wire form. */
const ARPA = parseName('resolver.arpa');

/**
 * `resolver.arpa`, which every resolver serves itself and none forwards (RFC 9462 §6.4), and the resolver's description of
 * itself (RFC 9606). SVCB of `_dns.resolver.arpa` names our DoT and DoH; RESINFO of the resolver's own name, and of
 * `resolver.arpa`, says what it does; everything else in the zone is NODATA.
 */
export class LocalZone {
  readonly #discovery = parseName('_dns.resolver.arpa');
  readonly #own: Uint8Array | undefined;
  readonly #designated: readonly Uint8Array[];
  readonly #information: readonly Uint8Array[];
  readonly #soa: Uint8Array;

  constructor(information?: ResolverInformation) {
    const named = information?.name !== undefined;
    this.#own = named ? parseName(information.name!) : undefined;
    this.#designated = named ? composeDesignated(information) : [];
    this.#information = named ? [composeRecord(RRTYPE.RESINFO, composeInformation(information))] : [];
    this.#soa = composeSoa(information);
  }

  /**
   * Turns a scanned query of class IN for one of these names into its answer in place and returns the length; 0 when the
   * name is not ours. What does not fit into `capacity` octets is left out with TC set.
   */
  answer(wire: Uint8Array, start: number, scan: QueryScan, capacity: number): number {
    const nameEnd = scan.questionEnd - 4;
    // The label length before `arpa` sits six octets before the end of the name: this look rules out almost everything.
    const inZone = wire[nameEnd - 6] === 4 && endsWith(wire, scan.qname, nameEnd, ARPA);
    const asksInfo = scan.qtype === RRTYPE.RESINFO;
    if (!inZone && !(asksInfo && this.#own !== undefined && isName(wire, scan.qname, nameEnd, this.#own))) return 0;
    let records: readonly Uint8Array[] = [];
    if (asksInfo && (!inZone || isName(wire, scan.qname, nameEnd, ARPA))) records = this.#information;
    if (scan.qtype === RRTYPE.SVCB && isName(wire, scan.qname, nameEnd, this.#discovery)) records = this.#designated;
    return this.#compose(wire, start, scan, capacity, records);
  }

  /** The answer is authoritative, as RFC 9606 §3 demands and a locally served zone is. */
  #compose(wire: Uint8Array, start: number, scan: QueryScan, capacity: number, answers: readonly Uint8Array[]): number {
    const bare = composeEmptyAnswer(wire, start, scan, RCODE.NOERROR);
    const opt = wire.slice(scan.questionEnd, start + bare);
    const records = answers.length > 0 ? answers : [this.#soa];
    const size = records.reduce((total, record) => total + record.length, 0);
    wire[start + 2] = wire[start + 2]! | FLAGS2.AA;
    if (bare + size > capacity) {
      wire[start + 2] = wire[start + 2]! | FLAGS2.TC;
      return bare;
    }
    let at = scan.questionEnd;
    for (const record of records) {
      wire.set(record, at);
      at += record.length;
    }
    // The SOA's owner is the zone, wherever in the question it starts.
    if (answers.length === 0) {
      wire.set(Uint8Array.of(0xc0, scan.questionEnd - 4 - ARPA.length - start), scan.questionEnd);
    }
    wire[start + (answers.length > 0 ? 7 : 9)] = records.length;
    wire.set(opt, at);
    return bare + size;
  }
}

/** What we can say truthfully: which errors we give ourselves (RFC 9606 §4), and where people can read on. */
function composeInformation({ infoUrl, forges }: ResolverInformation): Buffer {
  const keys = [
    `exterr=${forges ? `${EDE.FORGED_ANSWER},` : ''}${EDE.CENSORED},${EDE.NO_REACHABLE_AUTHORITY}-${EDE.NETWORK_ERROR}`,
  ];
  if (infoUrl !== undefined) keys.push(`infourl=${infoUrl}`);
  return Buffer.concat(keys.map((key) => Buffer.concat([Buffer.of(Buffer.byteLength(key)), Buffer.from(key)])));
}

/** One SVCB record for each encrypted transport (RFC 9462 §4), DoT first. */
function composeDesignated(information: ResolverInformation): Uint8Array[] {
  const target = parseName(information.name!);
  const hints = composeHints(information.addresses);
  const records: Uint8Array[] = [];
  const add = (alpn: string, port: number | undefined, usual: number, path?: string) => {
    if (port === undefined) return;
    const parameters = [composeParameter(SVCPARAM.ALPN, Buffer.concat([Buffer.of(alpn.length), Buffer.from(alpn)]))];
    if (port !== usual) parameters.push(composeParameter(SVCPARAM.PORT, Buffer.of(port >>> 8, port & 0xff)));
    parameters.push(...hints);
    if (path !== undefined) parameters.push(composeParameter(SVCPARAM.DOHPATH, Buffer.from(`${path}{?dns}`)));
    const data = Buffer.concat([Buffer.of(0, records.length + 1), target, ...parameters]);
    records.push(composeRecord(RRTYPE.SVCB, data));
  };
  add('dot', information.dotPort, DOT_PORT);
  add('h2', information.dohPort, DOH_PORT, information.dohPath);
  return records;
}

function composeHints(addresses: readonly string[]): Buffer[] {
  const wire = (kept: readonly string[]) =>
    Buffer.concat(kept.map((one) => Buffer.from(ipaddr.parse(one).toByteArray())));
  const v4 = wire(addresses.filter((one) => isIPv4(one)));
  const v6 = wire(addresses.filter((one) => isIPv6(one)));
  return [
    ...(v4.length > 0 ? [composeParameter(SVCPARAM.IPV4HINT, v4)] : []),
    ...(v6.length > 0 ? [composeParameter(SVCPARAM.IPV6HINT, v6)] : []),
  ];
}

function composeParameter(key: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(key, 0);
  head.writeUInt16BE(value.length, 2);
  return Buffer.concat([head, value]);
}

/** A record whose owner is the QNAME. */
function composeRecord(type: number, data: Uint8Array): Uint8Array {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(CLASS.IN, 4);
  head.writeUInt32BE(TTL_SECONDS, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function composeSoa(information: ResolverInformation | undefined): Uint8Array {
  const timers = Buffer.alloc(20);
  [1, 3600, 600, 86_400, TTL_SECONDS].forEach((value, i) => {
    timers.writeUInt32BE(value, i * 4);
  });
  const names = [information?.soaMname ?? 'warta.invalid', information?.soaRname ?? 'hostmaster.warta.invalid'];
  return composeRecord(RRTYPE.SOA, Buffer.concat([...names.map(parseName), timers]));
}

/** Whether the name `wire[from, end)` is or ends with `suffix`, at a label's start. */
function endsWith(wire: Uint8Array, from: number, end: number, suffix: Uint8Array): boolean {
  const at = end - suffix.length;
  if (at < from) return false;
  for (let i = 0; i < suffix.length; i++) if (LOWER[wire[at + i]!] !== suffix[i]) return false;
  let label = from;
  while (label < at) label += wire[label]! + 1;
  return label === at;
}

function isName(wire: Uint8Array, from: number, end: number, name: Uint8Array): boolean {
  return end - from === name.length && endsWith(wire, from, end, name);
}
