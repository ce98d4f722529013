import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import { type EdeOption, Packet, type Resource } from 'dns2';
import { paint } from '../base/terminal.ts';
import { EDE } from '../dns/constants.ts';
import { canonicaliseName, fitsWire } from '../register/entry-name.ts';
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from '../resolver/socket-address.ts';
import { askServer, type DnsAnswer, type DnsQuestion } from './dns-client.ts';
import { composeRows, escapeControls, printJson, type Row } from './output.ts';

const DNS_PORT = 53;

/** Where `npm start` listens. */
const DEFAULT_SERVER = '127.0.0.1:5300';

/** Record types dns2 has no name for; any other goes as TYPE1234 (RFC 3597 §5). */
const MORE_TYPES = { NAPTR: 35, DNAME: 39, DS: 43, SSHFP: 44, NSEC: 47, NSEC3: 50, TLSA: 52, SVCB: 64, HTTPS: 65 };

/** What is in dns2's list and no type of a record that can be asked for. */
const NO_QUESTIONS = new Set(['EDNS', 'AXFR', 'MAILA', 'MAILB']);

const TYPES = new Map<string, number>(
  [...Object.entries(Packet.TYPE), ...Object.entries(MORE_TYPES)].filter(([name]) => !NO_QUESTIONS.has(name)),
);
const TYPE_NAMES = new Map([...TYPES].map(([name, code]) => [code, name]));

/** The first name of each code: 16 is BADVERS here, as nobody signs these queries. */
const RCODE_NAMES = new Map<number, string>(
  Object.entries(Packet.RCODE)
    .reverse()
    .map(([name, code]) => [code, name]),
);

/** Extended errors by which a resolver says that it withholds a name (RFC 8914). */
const BLOCKING_CODES = new Set<number>([EDE.FORGED_ANSWER, EDE.BLOCKED, EDE.CENSORED, EDE.FILTERED]);

/** Adds `warta query`. */
export function registerQueryCommand(program: Command): void {
  program
    .command('query')
    .description('ask a resolver about a name, and say whether it is blocked and under which notice')
    .argument('<name>', 'name to ask for', parseName)
    .addArgument(new Argument('[type]', 'record type').argParser(parseType).default(Packet.TYPE.A, 'A'))
    .addOption(
      new Option('--server <address>', 'resolver to ask; port 53 unless given')
        .argParser(parseServer)
        .default(parseServer(DEFAULT_SERVER), DEFAULT_SERVER),
    )
    .option('--tcp', 'ask over TCP')
    .option('--no-edns', 'ask without an OPT record')
    .addOption(new Option('--dnssec', 'ask for DNSSEC records (DO)').conflicts('edns'))
    .option('--timeout <seconds>', 'how long to wait', parseTimeout, 5)
    .option('--json', 'print JSON')
    .action(queryName);
}

function parseName(text: string): string {
  const name = canonicaliseName(text);
  if (name === undefined || !fitsWire(name))
    throw new InvalidArgumentError('Write a domain name such as bank.example.');
  return name;
}

function parseType(text: string): number {
  const upper = text.toUpperCase();
  const code = TYPES.get(upper) ?? Number(/^TYPE(\d{1,5})$/.exec(upper)?.[1] ?? 'none');
  if (!(code > 0 && code <= 0xffff))
    throw new InvalidArgumentError('Write a record type such as AAAA, HTTPS or TYPE65.');
  return code;
}

function parseServer(text: string): SocketAddress {
  try {
    return parseSocketAddress(text, DNS_PORT);
  } catch {
    throw new InvalidArgumentError('Write 192.0.2.1:53 or [2001:db8::1]:53.');
  }
}

function parseTimeout(text: string): number {
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= 300)) throw new InvalidArgumentError('Write seconds, from 0.1 to 300.');
  return seconds;
}

interface QueryOptions {
  server: SocketAddress;
  tcp?: boolean;
  edns: boolean;
  dnssec?: boolean;
  timeout: number;
  json?: boolean;
}

/** `warta query`. */
async function queryName(name: string, type: number, options: QueryOptions): Promise<void> {
  const { server, tcp = false, edns, dnssec = false, timeout, json } = options;
  const question = { name, type, edns, dnssec };
  const answer = await askServer(server, question, { tcp, timeoutMillis: timeout * 1000 });
  const outcome = judgeAnswer(question, answer.packet);
  if (json) printJson(composeReport(question, server, answer, outcome));
  else console.log(describeAnswer(question, server, answer, outcome));
}

/** An extended DNS error. */
interface ExtendedError {
  readonly code: number;
  readonly name: string;
  readonly text: string;
}

/** What an answer means. */
interface Outcome {
  /** `gateway`: led to a gateway, for the whole name or for pages of it; the answer does not tell which. */
  readonly verdict: 'blocked' | 'gateway' | 'not-blocked' | 'unknown';
  /** Reference of the notice, when the answer names one. */
  readonly notice?: string;
  readonly sentence: string;
}

/** Returns the extended errors of an answer (RFC 8914). */
export function extendedErrors(packet: Packet): ExtendedError[] {
  const options = packet.additionals.flatMap((record) =>
    record.type === Packet.TYPE.EDNS ? (record.rdata ?? []) : [],
  );
  return options
    .filter((option): option is EdeOption => option.ednsCode === Packet.EDNS_OPTION_CODE.EDE)
    .map(({ infoCode, extraText }) => ({ code: infoCode, name: nameError(infoCode), text: extraText }));
}

/** Names an extended error as the IANA list does: `16` is `Censored`. */
function nameError(code: number): string {
  const words = (Packet.EDE_NAME[code] ?? `CODE_${code}`).split('_');
  const plain = (word: string) => !/^(?:DNS|DS$|NSEC|NX|RRSIG)/.test(word);
  return words.map((word) => (plain(word) ? word[0] + word.slice(1).toLowerCase() : word)).join(' ');
}

function nameRcode(code: number): string {
  return RCODE_NAMES.get(code) ?? `RCODE${code}`;
}

function nameType(code: number): string {
  return TYPE_NAMES.get(code) ?? `TYPE${code}`;
}

/** Says what the answer means for someone who asked for the name. */
function judgeAnswer({ name, type, edns }: DnsQuestion, packet: Packet): Outcome {
  const rcode = nameRcode(packet.header.rcode);
  const block = extendedErrors(packet).find(({ code }) => BLOCKING_CODES.has(code));
  if (block !== undefined) {
    // Structured errors say it too, inside their JSON.
    const notice = /\bnotice ([A-Za-z0-9][A-Za-z0-9 ()./_-]{0,119})/.exec(block.text)?.[1];
    if (block.code === EDE.FORGED_ANSWER && notice !== undefined) {
      const sentence = `${name} is led to the gateway under notice ${notice}: either all of it is blocked, or single pages are.`;
      return { verdict: 'gateway', notice, sentence };
    }
    const under = notice === undefined ? 'blocked, and no notice is named' : `blocked under notice ${notice}`;
    return { verdict: 'blocked', notice, sentence: `${name} is ${under} (${block.name}).` };
  }
  if (rcode === 'NXDOMAIN' || (rcode === 'NOERROR' && packet.answers.length === 0)) {
    const fact = rcode === 'NXDOMAIN' ? 'it is said not to exist' : `it is said to have no ${nameType(type)} records`;
    if (findOpt(packet) !== undefined) return { verdict: 'not-blocked', sentence: `${name} is not blocked; ${fact}.` };
    // A blocked name looks the same to whoever cannot be told the reason.
    const why = edns ? 'this resolver sends no extended errors' : 'ask without --no-edns';
    return { verdict: 'unknown', sentence: `No telling whether ${name} is blocked: ${fact}, and ${why}.` };
  }
  if (rcode === 'NOERROR') return { verdict: 'not-blocked', sentence: `${name} is not blocked.` };
  return { verdict: 'unknown', sentence: `No telling whether ${name} is blocked: the resolver answered ${rcode}.` };
}

const FLAGS = ['qr', 'aa', 'tc', 'rd', 'ra', 'ad', 'cd'] as const;

/** Flags that are set, by their usual names; `do` is the OPT record's. */
function listFlags(packet: Packet): string[] {
  const header = packet.header as unknown as Record<string, number>;
  const opt = findOpt(packet);
  return [...FLAGS.filter((flag) => header[flag] === 1), ...(opt?.doFlag ? ['do'] : [])];
}

function findOpt(packet: Packet): Resource | undefined {
  return packet.additionals.find(({ type }) => type === Packet.TYPE.EDNS);
}

/** A record as `--json` shows it. */
function noteRecord(record: Resource) {
  const { name, type, ttl } = record;
  return { name: name || '.', type: nameType(type), ttlSeconds: ttl, data: describeData(record) };
}

/** Describes a record in one line. */
function describeRecord(record: Resource): string {
  const { name, type, ttlSeconds, data } = noteRecord(record);
  return escapeControls(`${name} ${ttlSeconds} ${type} ${data}`);
}

/** Returns a record's data as in a zone file; of types dns2 does not read, in hexadecimal (RFC 3597 §5). */
function describeData(record: Resource): string {
  const { TYPE } = Packet;
  switch (record.type) {
    case TYPE.A:
    case TYPE.AAAA:
      return record.address!;
    case TYPE.NS:
      return dotted(record.ns);
    case TYPE.CNAME:
    case TYPE.PTR:
      return dotted(record.domain);
    case TYPE.MX:
      return `${record.priority} ${dotted(record.exchange)}`;
    case TYPE.SRV:
      return `${record.priority} ${record.weight} ${record.port} ${dotted(record.target)}`;
    case TYPE.TXT:
    case TYPE.SPF:
      return (record.data as string[]).map((text) => JSON.stringify(text)).join(' ');
    case TYPE.SOA: {
      const { primary, admin, serial, refresh, retry, expiration, minimum } = record;
      return [dotted(primary), dotted(admin), serial, refresh, retry, expiration, minimum].join(' ');
    }
    default:
      return Buffer.isBuffer(record.data) ? `\\# ${record.data.length} ${record.data.toString('hex')}` : '';
  }
}

/** Spells a name in data with its final dot. */
function dotted(name = ''): string {
  return `${name}.`;
}

/** The answer as one JSON document. */
function composeReport(question: DnsQuestion, server: SocketAddress, answer: DnsAnswer, outcome: Outcome) {
  const { packet, transport, millis, retried } = answer;
  return {
    name: question.name,
    type: nameType(question.type),
    server: formatSocketAddress(server),
    transport,
    retriedOverTcp: retried,
    millis: Math.round(millis * 1000) / 1000,
    rcode: nameRcode(packet.header.rcode),
    flags: listFlags(packet),
    edns: findOpt(packet) === undefined ? undefined : { udpSizeBytes: findOpt(packet)!.class },
    answers: packet.answers.map(noteRecord),
    authority: packet.authorities.map(noteRecord),
    extendedErrors: extendedErrors(packet),
    unreadable: packet.errors.map((error) => error.message),
    ...outcome,
  };
}

const COLOURS = { blocked: 'red', gateway: 'yellow', 'not-blocked': 'green', unknown: 'yellow' } as const;

/** The answer for people; the sentence comes last. */
function describeAnswer(question: DnsQuestion, server: SocketAddress, answer: DnsAnswer, outcome: Outcome): string {
  const { packet, transport, millis, retried } = answer;
  const via = `${transport.toUpperCase()}${retried ? ' (cut over UDP)' : ''}`;
  const rows: Row[] = [
    ['question', `${question.name} ${nameType(question.type)}`],
    ['server', `${formatSocketAddress(server)} over ${via}, ${millis.toFixed(1)} ms`],
    ['status', `${paint('bold', nameRcode(packet.header.rcode))} (${listFlags(packet).join(' ')})`],
  ];
  const addRecords = (label: string, records: readonly Resource[]) => {
    if (records.length > 0) rows.push([label, records.map(describeRecord).join('\n')]);
  };
  addRecords('answer', packet.answers);
  addRecords('authority', packet.authorities);
  for (const { code, name, text } of extendedErrors(packet)) {
    rows.push(['error', `${code} ${name}${text && `: ${escapeControls(text)}`}`]);
  }
  if (packet.errors.length > 0) rows.push(['unreadable', packet.errors.map(({ message }) => message).join('\n')]);
  return `${composeRows(rows)}\n\n${paint(COLOURS[outcome.verdict], escapeControls(outcome.sentence))}`;
}
