import { randomInt } from 'node:crypto';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { createAsker, type DnsAsker, PORTS, type Protocol, type ResolverTarget } from '../audit/dns-asker.ts';
import type { Finding } from '../audit/finding.ts';
import { countOutcomes, findInProbe, type ProbeResult, runProbe } from '../audit/probe.ts';
import { planProbe } from '../audit/probe-plan.ts';
import { paint } from '../base/terminal.ts';
import { RRTYPE } from '../dns/constants.ts';
import { formatInstant } from '../register/time.ts';
import { parseSocketAddress } from '../resolver/socket-address.ts';
import { type AuditOptions, addAuditOptions, ISP_OPTION, nowOf, parsePositive, withRegister } from './audit-options.ts';
import { describeFinding } from './audit-report.ts';
import { listSome } from './notice-report.ts';
import { composeRows, printJson, type Row, readInput } from './output.ts';

/** Most rules tried in one go. */
const MAX_SAMPLE = 100_000;
const MILLIS = 1000;

/** Record types by name; NODATA for some types only is a hole, so several are asked. */
const TYPES: Readonly<Record<string, number>> = {
  A: RRTYPE.A,
  AAAA: RRTYPE.AAAA,
  HTTPS: RRTYPE.HTTPS,
  SVCB: RRTYPE.SVCB,
};

interface ProbeOptions extends AuditOptions {
  resolver: string;
  protocol: Protocol;
  isp: string;
  sample: number;
  types: number[];
  settle: number;
  concurrency: number;
  perSecond: number;
  timeout: number;
  tlsName?: string;
  ca?: string;
  anyCertificate?: boolean;
  get?: boolean;
  compare?: string;
}

/** Adds `probe`. */
export function registerProbeCommand(audit: Command): void {
  addAuditOptions(audit.command('probe'))
    .description('ask a live resolver for what should be blocked and for what should not, and report every difference')
    .requiredOption('--resolver <address>', 'IP address, with a port if it is another; for DoH also a URL')
    .requiredOption(...ISP_OPTION)
    .addOption(new Option('--protocol <protocol>', 'how to ask').choices(Object.keys(PORTS)).default('udp'))
    .option('--sample <rules>', `rules to try, or all (at most ${MAX_SAMPLE})`, parseSample, 100)
    .option('--types <list>', 'record types asked of names that must be blocked', parseTypes, [1, 28, 65])
    .option('--settle <seconds>', 'leave out what changed so recently', parsePositive, 120)
    .option('--concurrency <questions>', 'questions under way at once', parsePositive, 8)
    .option('--per-second <questions>', 'most questions a second', parsePositive, 50)
    .option('--timeout <seconds>', 'how long to wait for an answer', parsePositive, 3)
    .option('--tls-name <name>', 'name the certificate must have (DoT, DoH); the address otherwise')
    .option('--ca <file>', "certificates to trust instead of the system's (PEM)")
    .option('--any-certificate', 'take any certificate')
    .option('--get', 'ask by GET instead of POST (DoH)')
    .option(
      '--compare <address>',
      'resolver that blocks nothing, to tell a silent block from a name that does not exist',
    )
    .action(probe);
}

function parseSample(text: string): number {
  if (text === 'all') return MAX_SAMPLE;
  const count = Number(text);
  if (!(Number.isInteger(count) && count > 0 && count <= MAX_SAMPLE)) {
    throw new InvalidArgumentError(`Write all, or a whole number up to ${MAX_SAMPLE}.`);
  }
  return count;
}

function parseTypes(text: string): number[] {
  return text.split(',').map((name) => {
    const type = TYPES[name.toUpperCase()];
    if (type === undefined) throw new InvalidArgumentError(`Write types out of ${Object.keys(TYPES).join(', ')}.`);
    return type;
  });
}

/** `warta audit probe`. */
async function probe(options: ProbeOptions, command: Command): Promise<void> {
  const target = parseTarget(options, command);
  await withRegister(options, async ({ register }, progress) => {
    const nowSeconds = nowOf(options);
    const { isp: licensee, settle: settleSeconds, sample } = options;
    const plan = planProbe(register, { licensee, nowSeconds, settleSeconds, sample, random: randomInt });
    const asker = createAsker(target, options.timeout * MILLIS);
    const other = openOther(options, command);
    const { types, concurrency, perSecond } = options;
    const onProgress = (done: number, total: number) => progress.update('questions', done, total);
    try {
      const results = await runProbe(asker, plan, { types, concurrency, perSecond, onProgress }, other);
      progress.done();
      const terms = { licensee, atSeconds: nowSeconds, pack: register.pinned.pack };
      report(results, findInProbe(register, results, options.resolver, terms), options);
    } finally {
      await Promise.all([asker.close(), other?.close()]);
    }
  });
}

/** Reads where and how to ask. */
function parseTarget(options: ProbeOptions, command: Command): ResolverTarget {
  const { resolver, protocol, tlsName, anyCertificate, get } = options;
  const tls = {
    tlsName,
    anyCertificate,
    get,
    ca: options.ca === undefined ? undefined : readInput(options.ca).toString(),
  };
  if (/^https:/i.test(resolver)) {
    if (protocol !== 'doh') command.error('error: a URL is asked with --protocol doh');
    const { hostname, port, pathname } = new URL(resolver);
    const path = pathname === '/' ? undefined : pathname;
    return { protocol, host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || PORTS.doh, path, ...tls };
  }
  return { protocol, ...parseAddress(resolver, protocol, command), ...tls };
}

function parseAddress(text: string, protocol: Protocol, command: Command): { host: string; port: number } {
  try {
    return parseSocketAddress(text, PORTS[protocol]);
  } catch {
    return command.error(`error: ${text} is no address: write 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53`);
  }
}

function openOther({ compare, timeout }: ProbeOptions, command: Command): DnsAsker | undefined {
  if (compare === undefined) return undefined;
  return createAsker({ protocol: 'udp', ...parseAddress(compare, 'udp', command) }, timeout * MILLIS);
}

/** Tells what was asked and every difference. */
function report(results: readonly ProbeResult[], findings: readonly Finding[], options: ProbeOptions): void {
  const { resolver, protocol, isp, json } = options;
  const counts = countOutcomes(results);
  const at = formatInstant(nowOf(options));
  if (findings.length > 0) process.exitCode = 1;
  if (json) {
    const answers = results.map(({ asked, type, verdict, elsewhere, fault }) => {
      const { name, reason, expect } = asked;
      return { name, type, why: reason, expect, ...verdict, elsewhere: elsewhere?.kind, fault };
    });
    printJson({ resolver, protocol, licensee: isp, at, counts, findings, answers });
    return;
  }
  if (findings.length > 0) console.log(`${listSome(findings.map(describeFinding))}\n`);
  const told = Object.entries(counts).filter(([, count]) => count > 0);
  const rows: Row[] = [
    ['resolver', `${resolver} over ${protocol}, for ${isp} at ${at}`],
    ['questions', `${results.length}: ${told.map(([outcome, count]) => `${count} ${outcome}`).join(', ')}`],
    [
      'outcome',
      findings.length === 0 ? paint('green', 'as the register says') : paint('red', `${findings.length} differences`),
    ],
  ];
  console.log(composeRows(rows));
}
