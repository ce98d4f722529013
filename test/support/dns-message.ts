import DNS from 'dns2';

const { Packet } = DNS;

/** Record types by name; the first is what `composeQuery` takes when none is given. */
export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  DNAME: 39,
  OPT: 41,
  SVCB: 64,
  HTTPS: 65,
  ANY: 255,
} as const;

/** What a query asks besides its name. EDNS is sent when `edns` is given. */
export interface QueryOptions {
  type?: number;
  qclass?: number;
  id?: number;
  /** The third and fourth header octets; RD alone by default. */
  flags?: number;
  edns?: {
    udpBytes?: number;
    version?: number;
    /** The 16 flag bits, DO is 0x8000. */
    flags?: number;
    options?: readonly { code: number; data?: Uint8Array }[];
  };
}

/** Composes a query octet by octet, so that no code under test is trusted. */
export function composeQuery(name: string, options: QueryOptions = {}): Buffer {
  const { type = TYPE.A, qclass = 1, id = Math.floor(Math.random() * 65536), flags = 0x0100, edns } = options;
  const header = Buffer.alloc(12);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(flags, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(edns === undefined ? 0 : 1, 10);
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(type, 0);
  tail.writeUInt16BE(qclass, 2);
  return Buffer.concat([header, composeName(name), tail, edns === undefined ? Buffer.alloc(0) : composeOpt(edns)]);
}

/** Returns the wire form of a dotted name; letters stay in their case. */
export function composeName(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '');
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label, 'latin1')])),
    Buffer.of(0),
  ]);
}

function composeOpt({ udpBytes = 1232, version = 0, flags = 0, options = [] }: NonNullable<QueryOptions['edns']>) {
  const data = options.map(({ code, data = new Uint8Array(0) }) => {
    const head = Buffer.alloc(4);
    head.writeUInt16BE(code, 0);
    head.writeUInt16BE(data.length, 2);
    return Buffer.concat([head, data]);
  });
  const opt = Buffer.alloc(11);
  opt.writeUInt16BE(TYPE.OPT, 1);
  opt.writeUInt16BE(udpBytes, 3);
  opt[6] = version;
  opt.writeUInt16BE(flags, 7);
  opt.writeUInt16BE(
    data.reduce((sum, { length }) => sum + length, 0),
    9,
  );
  return Buffer.concat([opt, ...data]);
}

const RCODES: Record<number, string> = {
  0: 'NOERROR',
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
  16: 'BADVERS',
  23: 'BADCOOKIE',
};

/** An answer as an independent codec reads it. */
export interface Answer {
  id: number;
  rcode: string;
  aa: boolean;
  tc: boolean;
  rd: boolean;
  ra: boolean;
  ad: boolean;
  cd: boolean;
  answers: readonly DNS.Packet.Resource[];
  soa?: { owner: string; ttl: number; minimum: number };
  opt?: { udpBytes: number; version: number; dnssecOk: boolean };
  ede?: { code: number; text: string };
}

/**
 * Parses an answer with dns2, which shares no line with the code under test.
 *
 * @throws {Error} when the message is not well-formed to its last octet.
 */
export function parseAnswer(message: Buffer): Answer {
  const packet = Packet.parse(message) as DNS.Packet & { errors: Error[] };
  if (packet.errors.length > 0) throw packet.errors[0]!;
  const { header } = packet;
  if (header.qr !== 1) throw new Error('not a response');
  const soa = packet.authorities.find(({ type }) => type === TYPE.SOA);
  const opts = packet.additionals.filter(({ type }) => type === TYPE.OPT);
  if (opts.length > 1) throw new Error('two OPT records');
  const [opt] = opts;
  const ede = opt?.rdata?.find((option): option is DNS.Packet.EdeOption => option.ednsCode === 15);
  return {
    id: header.id,
    rcode: RCODES[header.rcode] ?? String(header.rcode),
    aa: header.aa === 1,
    tc: header.tc === 1,
    rd: header.rd === 1,
    ra: header.ra === 1,
    ad: (header as { ad?: number }).ad === 1,
    cd: (header as { cd?: number }).cd === 1,
    answers: packet.answers,
    soa: soa && { owner: soa.name, ttl: soa.ttl, minimum: soa.minimum! },
    opt: opt && { udpBytes: opt.class, version: opt.version!, dnssecOk: opt.doFlag! },
    ede: ede && { code: ede.infoCode, text: ede.extraText },
  };
}
