import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { describeError, WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { type Config, countWorkers, loadConfig, readSystemResolvers } from '../config/config.ts';
import { PrefixList } from '../gateway/address-policy.ts';
import { createAddressSource } from '../gateway/origin-resolver.ts';
import { type Authorities, parseAuthorities } from '../register/authorities.ts';
import { hashHex } from '../register/canonical.ts';
import { type Pack, parsePack } from '../register/pack.ts';
import { ClientAcl } from '../resolver/client-acl.ts';
import { parseSocketAddress } from '../resolver/socket-address.ts';
import { readDirectory } from '../sync/directory-source.ts';
import { describeListeners } from './gateway-node.ts';
import { findUpstreams } from './node.ts';
import { composeRows, countOf, printJson, type Row, readInput } from './output.ts';

/** Adds `warta config validate`. */
export function registerConfigCommand(program: Command): void {
  program
    .command('config')
    .description('the configuration of a resolver or a gateway')
    .command('validate')
    .description('check a configuration and the files it names, and print what it comes to')
    .argument('<file>', 'configuration file (see config/warta.yaml and config/gateway.yaml)')
    .option('--json', 'print JSON')
    .action((file: string, options: { json?: boolean }) => validateConfig(file, options.json));
}

/** A wrong key and what to write, or a file that is not as it should be. */
interface Problem {
  readonly key: string;
  readonly message: string;
}

/** What the files hold that the configuration names, as far as they can be read. */
interface NamedFiles {
  authorities?: Authorities;
  pack?: Pack;
  packSha256?: string;
  statements?: number;
  rootSha256?: string;
}

/** `warta config validate`. */
function validateConfig(file: string, json = false): void {
  let config: Config;
  try {
    config = loadConfig(file);
  } catch (error) {
    if (!json || !(error instanceof WartaError)) throw error;
    printJson({ valid: false, problems: readProblems(error) });
    process.exitCode = 1;
    return;
  }
  const files: NamedFiles = {};
  const problems = [...checkAddresses(config), ...checkFiles(config, files)];
  if (json) {
    printJson(problems.length > 0 ? { valid: false, problems } : { valid: true, config: hideSecrets(config) });
    if (problems.length > 0) process.exitCode = 1;
    return;
  }
  if (problems.length > 0) {
    const lines = problems.map(({ key, message }) => `  ${key}: ${message}`);
    throw new WartaError('config-invalid', `${file} is not valid:\n${lines.join('\n')}`);
  }
  console.log(`${composeRows(summarise(config, files))}\n\n${paint('green', `${file} is valid.`)}`);
}

/** Takes the loader's message apart: one line for each wrong key after the headline; any other message is one problem. */
function readProblems(error: WartaError): Problem[] {
  const [headline, ...lines] = error.message.split('\n');
  if (!headline.endsWith('is not valid:')) return [{ key: '', message: error.message.trim() }];
  return lines.map((line) => {
    const colon = line.indexOf(': ');
    return { key: line.slice(0, colon).trim(), message: line.slice(colon + 2) };
  });
}

/** Runs `check` and notes under `key` what it throws. */
function noteFault(problems: Problem[], key: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    problems.push({ key, message: describeError(error) });
  }
}

/** Checks addresses as the node will, which the schema does only by their shape. */
function checkAddresses(config: Config): Problem[] {
  const problems = config.gateway === undefined ? checkResolver(config) : checkGateway(config.gateway);
  noteFault(problems, 'metrics.listen', () => parseSocketAddress(config.metrics.listen, 9100));
  return problems;
}

/** Checks what a file with a section `gateway` is for; the resolver's section means nothing there. */
function checkGateway(gateway: NonNullable<Config['gateway']>): Problem[] {
  const problems: Problem[] = [];
  for (const key of ['http', 'https'] as const) {
    noteFault(problems, `gateway.${key}`, () => gateway[key] === '' || parseSocketAddress(gateway[key], 0));
  }
  noteFault(problems, 'gateway.resolvers', () => createAddressSource(gateway.resolvers));
  for (const key of ['allowedOrigins', 'proxyFrom'] as const) {
    noteFault(problems, `gateway.${key}`, () => new PrefixList(gateway[key]));
  }
  return problems;
}

function checkResolver(config: Config): Problem[] {
  const { resolver } = config;
  const problems: Problem[] = [];
  const upstreams = resolver.upstreams === 'system' ? [] : resolver.upstreams;
  const checkEach = (key: string, texts: readonly string[]) => {
    texts.forEach((text, at) => {
      noteFault(problems, `${key}.${at}`, () => parseSocketAddress(text, 53));
    });
  };
  checkEach('resolver.listen', resolver.listen);
  checkEach('resolver.upstreams', upstreams);
  if (problems.length === 0) noteFault(problems, 'resolver.upstreams', () => findUpstreams(config));
  noteFault(problems, 'resolver.allow', () => new ClientAcl(resolver.allow));
  return problems;
}

/** Reads the files the configuration names, into `files`. */
function checkFiles({ register }: Config, files: NamedFiles): Problem[] {
  const problems: Problem[] = [];
  noteFault(problems, 'register.policyPack', () => {
    const { pack, sha256 } = parsePack(readInput(register.policyPack));
    Object.assign(files, { pack, packSha256: sha256 });
  });
  const { root, authorities, directory } = register;
  if (root !== undefined) {
    noteFault(problems, 'register.root', () => {
      files.rootSha256 = hashHex(readInput(root));
    });
  }
  if (directory !== undefined && authorities !== undefined) {
    noteFault(problems, 'register.authorities', () => {
      files.authorities = parseAuthorities(readInput(authorities).toString(), files.packSha256);
    });
    noteFault(problems, 'register.directory', () => {
      files.statements = readDirectory(directory).leaves.length;
    });
  }
  return problems;
}

/** Leaves out what must not be copied into a ticket. */
function hideSecrets(config: Config) {
  const { cookieSecret, ...resolver } = config.resolver;
  return { ...config, resolver: { ...resolver, cookieSecret: cookieSecret && '(set)' } };
}

/** The effective configuration in lines. */
function summarise(config: Config, files: NamedFiles): Row[] {
  const { register, answer, gateway } = config;
  return [
    ...(gateway === undefined ? describeResolver(config.resolver) : describeGateway(gateway)),
    ['licensee', register.licensee],
    ...describeRegister(register, files),
    ['policy pack', `${register.policyPack} (${files.pack!.id} version ${files.pack!.version})`],
    ['answers', `by ${answer.operator}, in ${answer.language}, kept for ${answer.maxTtlSeconds} s at most`],
    ['metrics', `http://${config.metrics.listen}/metrics`],
    ['state', config.state],
  ];
}

function describeGateway(gateway: NonNullable<Config['gateway']>): Row[] {
  const { blockedBy, resolvers, ownAddresses, proxyFrom, maxConnections, maxConnectionsPerClient } = gateway;
  return [
    ['gateway', describeListeners(gateway)],
    ['blocked by', blockedBy],
    ['origins', `looked up at ${resolvers.join(', ')}`],
    ['steered to', ['the addresses of this machine', ...ownAddresses].join(', ')],
    ['behind', proxyFrom.length === 0 ? 'no load balancer' : `${proxyFrom.join(', ')}, which send PROXY headers`],
    ['limits', `${maxConnections} connections, ${maxConnectionsPerClient} for one client`],
  ];
}

function describeResolver(resolver: Config['resolver']): Row[] {
  const threads = countOf(countWorkers(resolver.workers), 'data-plane thread');
  const prefixes = resolver.allow.join(', ');
  return [
    ['listen', `${resolver.listen.join(', ')} (UDP, TCP)`],
    ['upstreams', describeUpstreams(resolver.upstreams)],
    ['mode', resolver.mode === 'observe' ? 'observe: counts and blocks nothing' : 'enforce'],
    ['I/O', `${resolver.io}, ${threads}`],
    ['clients', prefixes],
    ['limits', describeLimits(resolver)],
  ];
}

/** Where the register is, and what trust in it begins with. */
function describeRegister(register: Config['register'], files: NamedFiles): Row[] {
  if (register.mirrors !== undefined) {
    const { node, mirrors, root, sealed, receipts, pollSeconds } = register;
    return [
      ['node', node],
      ['register', `${mirrors.join(', ')} (asked every ${pollSeconds} s)`],
      ['root', `${root} (SHA-256 ${files.rootSha256}: compare it with the regulator's)`],
      ['sealed', sealed ?? 'none: sealed notices are not applied'],
      ['receipts', receipts ?? 'not sent'],
    ];
  }
  const officers = [...files.authorities!.byId.values()].map(
    ({ id, officers }) => `${id} with ${countOf(officers.length, 'officer')}`,
  );
  return [
    ['register', `${register.directory} (${countOf(files.statements!, 'statement')}; no log vouches for it)`],
    ['authorities', `${register.authorities} (version ${files.authorities!.version}: ${officers.join(', ')})`],
  ];
}

function describeUpstreams(upstreams: Config['resolver']['upstreams']): string {
  if (upstreams !== 'system') return upstreams.join(', ');
  const found = readSystemResolvers(readFileSync('/etc/resolv.conf', 'utf8'));
  return `those of /etc/resolv.conf: ${found.join(', ') || 'none now'}`;
}

function describeLimits({ responsesPerSecond, streams }: Config['resolver']): string {
  const rate =
    responsesPerSecond === 0 ? 'no response limit' : `${responsesPerSecond} responses/s for a client network`;
  return `${rate}; ${streams.maxConnections} TCP connections, ${streams.maxConnectionsPerClient} for one client`;
}
