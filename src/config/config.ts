import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { describeError, WartaError } from '../base/errors.ts';

/** `192.0.2.1:53`, `[2001:db8::1]:53` or an address alone. The full check is the resolver's. */
const address = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[0-9.]+)(:\d{1,5})?$|^[0-9a-fA-F:]+$/, 'write 192.0.2.1:53 or [2001:db8::1]:53');
const prefix = z.string().regex(/^[0-9a-fA-F:.]+\/\d{1,3}$/, 'write 10.0.0.0/8 or 2001:db8::/32');
const wireName = z
  .string()
  .max(60)
  .regex(/^([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?$|^\.$/, 'write a domain name of at most 60 characters');
const path = z.string().min(1).max(4096);

/** Clients of an ISP's own networks, loopback, and nobody else: an open resolver is a weapon. */
const PRIVATE_PREFIXES = [
  '127.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '::1/128',
  'fc00::/7',
  'fe80::/10',
];

/** DoT and DoH. The addresses' full check is the resolver's. */
const tlsSchema = z
  .strictObject({
    certificate: path.optional(),
    key: path.optional(),
    name: wireName.optional(),
    addresses: z
      .array(z.union([z.ipv4(), z.ipv6()], { error: 'write IP addresses without ports' }))
      .max(16)
      .default([]),
    infoUrl: z
      .string()
      .max(200)
      .regex(/^https:\/\/[!-~]+$/, 'write an https URL')
      .optional(),
    dot: z.strictObject({ listen: z.array(address).max(64).default([]) }).prefault({}),
    doh: z
      .strictObject({
        listen: z.array(address).max(64).default([]),
        path: z
          .string()
          .max(100)
          .regex(/^\/[A-Za-z0-9._~/-]*$/, 'write a path such as /dns-query')
          .default('/dns-query'),
        maxStreams: z.int().min(1).max(1_000).default(100),
      })
      .prefault({}),
    proxyFrom: z.array(prefix).max(64).default([]),
    maxConnections: z.int().min(1).max(100_000).default(10_000),
    maxConnectionsPerClient: z.int().min(1).max(100_000).default(50),
    idleSeconds: z.int().min(1).max(300).default(30),
    handshakeSeconds: z.int().min(1).max(60).default(5),
    handshakesPerSecond: z.int().min(0).max(100_000).default(500),
    handshakesPerSecondPerClient: z.int().min(0).max(100_000).default(50),
  })
  .superRefine((tls, context) => {
    if (tls.dot.listen.length + tls.doh.listen.length === 0) return;
    for (const key of ['certificate', 'key'] as const) {
      if (tls[key] !== undefined) continue;
      context.addIssue({ code: 'custom', path: [key], message: 'give the PEM file: DoT and DoH need both' });
    }
  });

const resolverSchema = z.strictObject({
  listen: z.array(address).min(1).max(64).default(['127.0.0.1:5300']),
  upstreams: z
    .union([z.literal('system'), z.array(address).min(1).max(16)], {
      error: 'write system, or a list of addresses such as [192.0.2.53:53]',
    })
    .default('system'),
  mode: z.enum(['enforce', 'observe']).default('enforce'),
  io: z.enum(['auto', 'batch', 'dgram']).default('auto'),
  workers: z
    .union([z.literal('auto'), z.int().min(1).max(64)], { error: 'write auto, or a number from 1 to 64' })
    .default('auto'),
  allow: z.array(prefix).min(1).max(1024).default(PRIVATE_PREFIXES),
  responsesPerSecond: z.int().min(0).max(10_000_000).default(20_000),
  checkTargets: z.boolean().default(true),
  proxyProtocol: z.boolean().default(false),
  timeoutMillis: z.int().min(50).max(30_000).default(1_500),
  attempts: z.int().min(1).max(10).default(3),
  maxPending: z.int().min(64).max(32_768).default(16_384),
  portsPerUpstream: z.int().min(2).max(64).default(16),
  cookieSecret: z
    .string()
    .regex(/^[0-9a-fA-F]{32}$/, 'write 32 hexadecimal digits')
    .optional(),
  streams: z
    .strictObject({
      maxConnections: z.int().min(1).max(100_000).default(2_000),
      maxConnectionsPerClient: z.int().min(1).max(100_000).default(50),
      maxPipelined: z.int().min(1).max(1_000).default(64),
      idleSeconds: z.int().min(1).max(300).default(10),
    })
    .prefault({}),
  tls: tlsSchema.prefault({}),
  gateway: z
    .strictObject({
      addresses: z
        .array(z.union([z.ipv4(), z.ipv6()], { error: 'write IP addresses without ports' }))
        .max(8)
        .default([]),
      checkPorts: z.array(z.int().min(1).max(65_535)).min(1).max(8).default([80, 443]),
      intervalMillis: z.int().min(100).max(60_000).default(1_000),
      timeoutMillis: z.int().min(50).max(10_000).default(1_000),
    })
    .prefault({}),
  health: z
    .strictObject({
      checkName: wireName.default('.'),
      intervalMillis: z.int().min(100).max(60_000).default(1_000),
      timeoutMillis: z.int().min(50).max(10_000).default(1_000),
    })
    .prefault({}),
});

const answerSchema = z.strictObject({
  operator: z.string().min(1).max(100).default('this network'),
  language: z.string().min(2).max(20).default('en'),
  maxTtlSeconds: z.int().min(1).max(60).default(60),
  soaMname: wireName.default('warta.invalid'),
  soaRname: wireName.default('hostmaster.warta.invalid'),
  structuredErrorOption: z.int().min(1).max(65_535).optional(),
});

const httpUrl = z
  .string()
  .max(2048)
  .regex(/^https?:\/\/[^\s?#]+$/, 'write an http or https URL without a query');

/** Where the gateway listens: an address, or nothing for a listener that is off. */
const listener = z.union([z.literal(''), address], { error: "write 0.0.0.0:80 or '[::]:80', or '' for none" });

const gatewaySchema = z
  .strictObject({
    http: listener.default('0.0.0.0:80'),
    https: listener.default('0.0.0.0:443'),
    blockedBy: z.url({ protocol: /^https?$/, error: 'write an http or https URL' }).max(2048),
    resolvers: z.array(address).min(1).max(16),
    ownAddresses: z
      .array(z.union([z.ipv4(), z.ipv6()], { error: 'write IP addresses without ports' }))
      .max(64)
      .default([]),
    allowedOrigins: z.array(prefix).max(64).default([]),
    proxyFrom: z.array(prefix).max(64).default([]),
    maxConnections: z.int().min(1).max(1_000_000).default(20_000),
    maxConnectionsPerClient: z.int().min(1).max(1_000_000).default(1_000),
  })
  .superRefine(({ http, https }, context) => {
    if (http !== '' || https !== '') return;
    context.addIssue({ code: 'custom', path: ['http'], message: 'give an address here or in https: nothing listens' });
  });

const registerSchema = z
  .strictObject({
    licensee: z
      .string()
      .min(1)
      .max(64)
      .regex(/^[A-Za-z0-9][A-Za-z0-9()./_-]*$/, 'write the licence number'),
    policyPack: path,
    mirrors: z
      .array(z.union([httpUrl, path]))
      .min(1)
      .max(16)
      .optional(),
    root: path.optional(),
    node: z
      .string()
      .regex(/^[a-z0-9][a-z0-9.-]{0,63}$/, 'write lower-case letters, digits, dots and hyphens')
      .default('node-1'),
    pollSeconds: z.int().min(1).max(3_600).default(10),
    sealed: httpUrl.optional(),
    receipts: httpUrl.optional(),
    alarmAfterMinutes: z.int().min(1).max(100_000).default(60),
    directory: path.optional(),
    authorities: path.optional(),
    rescanSeconds: z.int().min(1).max(3_600).default(5),
    staleAfterHours: z.int().min(1).max(8_760).default(48),
  })
  .superRefine((register, context) => {
    const fault = findRegisterFault(register);
    if (fault !== undefined) context.addIssue({ code: 'custom', path: [fault.key], message: fault.message });
  });

/** The register is on a log or in a directory; each needs what trust in it begins with. */
function findRegisterFault(register: {
  mirrors?: unknown;
  root?: unknown;
  directory?: unknown;
  authorities?: unknown;
}) {
  const { mirrors, root, directory, authorities } = register;
  if (mirrors !== undefined && directory !== undefined) {
    return { key: 'directory', message: 'leave it out: mirrors says where the register is' };
  }
  if (mirrors === undefined && directory === undefined) {
    return { key: 'mirrors', message: "list where the register is served, such as ['https://register.example/']" };
  }
  if (mirrors !== undefined && root === undefined) {
    return { key: 'root', message: 'give the 1.root.json that the regulator handed over: trust begins with it' };
  }
  return directory !== undefined && authorities === undefined
    ? { key: 'authorities', message: 'give the authorities.json of the directory' }
    : undefined;
}

const configSchema = z.strictObject({
  state: path,
  register: registerSchema,
  resolver: resolverSchema.prefault({}),
  gateway: gatewaySchema.optional(),
  answer: answerSchema.prefault({}),
  metrics: z.strictObject({ listen: address.default('127.0.0.1:9100') }).prefault({}),
  log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') }).prefault({}),
});

/** A checked configuration. Paths are absolute. */
export type Config = z.output<typeof configSchema>;

/** What is written in a configuration file. */
export type ConfigSource = z.input<typeof configSchema>;

/** Largest configuration file read. */
const MAX_CONFIG_BYTES = 1 << 20;

/**
 * Loads a YAML configuration file. Relative paths in it count from the file's folder.
 *
 * @throws {WartaError} `config-unreadable`; `config-invalid` naming every wrong key and what to write.
 */
export function loadConfig(file: string): Config {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new WartaError('config-unreadable', `cannot read the configuration ${file}`, { cause });
  }
  if (text.length > MAX_CONFIG_BYTES) throw new WartaError('config-invalid', `${file} is longer than 1 MiB`);
  return parseConfig(text, file);
}

/** Parses configuration text; `file` names it in errors and is what relative paths count from. */
export function parseConfig(text: string, file: string): Config {
  const document = parseDocument(text, { prettyErrors: true });
  const broken = document.errors[0];
  if (broken !== undefined) throw new WartaError('config-invalid', `${file}: ${broken.message}`);
  let source: unknown;
  try {
    source = document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw new WartaError('config-invalid', `${file}: ${describeError(cause)}`, { cause });
  }
  return checkConfig(source, file);
}

/** Checks a configuration that is already an object. */
export function checkConfig(source: unknown, file: string): Config {
  const result = configSchema.safeParse(source ?? {});
  if (!result.success) {
    throw new WartaError('config-invalid', `${file} is not valid:\n${describeIssues(result.error)}`);
  }
  const base = dirname(resolve(file));
  const { register, resolver } = result.data;
  return {
    ...result.data,
    state: resolve(base, result.data.state),
    resolver: {
      ...resolver,
      tls: {
        ...resolver.tls,
        certificate: resolver.tls.certificate && resolve(base, resolver.tls.certificate),
        key: resolver.tls.key && resolve(base, resolver.tls.key),
      },
    },
    register: {
      ...register,
      mirrors: register.mirrors?.map((mirror) => (isUrl(mirror) ? mirror : resolve(base, mirror))),
      root: register.root && resolve(base, register.root),
      directory: register.directory && resolve(base, register.directory),
      authorities: register.authorities && resolve(base, register.authorities),
      policyPack: resolve(base, register.policyPack),
    },
  };
}

function isUrl(text: string): boolean {
  return /^(https?|file):/.test(text);
}

/** One line for each wrong key: where, what is wrong, and the keys that would be right. */
function describeIssues(error: z.ZodError): string {
  return error.issues
    .map((issue) => {
      const key = issue.path.join('.') || 'the file';
      if (issue.code !== 'unrecognized_keys') return `  ${key}: ${issue.message}`;
      const names = issue.keys.map((name) => (key === 'the file' ? name : `${key}.${name}`));
      const example = key === 'gateway' ? 'config/gateway.yaml' : 'config/warta.yaml';
      return `  ${names.join(', ')}: no such key; see ${example} for all of them`;
    })
    .join('\n');
}

/** Number of data-plane threads: one for each core but the one that the event loop needs. */
export function countWorkers(workers: number | 'auto'): number {
  return workers === 'auto' ? Math.max(1, availableParallelism() - 1) : workers;
}

/** Returns the resolvers that resolv.conf text names. */
export function readSystemResolvers(resolvConf: string): string[] {
  return resolvConf
    .split('\n')
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1])
    .filter((host): host is string => host !== undefined && !/^fe80:/i.test(host)) // needs an interface to mean anything
    .map((host) => host.replace(/%.*$/, ''));
}
