import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { describeError, WartaError } from '../../base/errors.ts';
import { parseWith, slug, text } from '../../register/fields.ts';

const path = z.string().min(1).max(4096);
const seconds = z.int().min(1).max(86_400);

const logConfigSchema = z.strictObject({
  origin: text(200).regex(/^[^\s+]+$/, 'write a name without blanks and plus signs, such as register.example/log'),
  key: path.default('log.key'),
  state: path.default('state'),
  public: path.default('public'),
  sealed: path.default('sealed'),
  root: path.default('1.root.json'),
  policyPack: path,
  listen: z
    .string()
    .regex(/^(\[[0-9a-fA-F:.]+\]|[0-9.]+):\d{1,5}$/, 'write an address and a port, such as 127.0.0.1:8400')
    .default('127.0.0.1:8400'),
  witnesses: z
    .array(z.strictObject({ name: text(200), url: z.url({ protocol: /^https?$/ }) }))
    .max(64)
    .default([]),
  heartbeat: z
    .strictObject({ key: path.default('heartbeat.key'), authority: slug, seconds: seconds.default(3600) })
    .optional(),
  freshSeconds: seconds.default(60),
  /** An S3-compatible store that the public tree is published to, instead of the folder. */
  bucket: z
    .strictObject({
      name: text(255),
      prefix: z
        .string()
        .regex(/^([A-Za-z0-9_.-]+\/)*$/, 'write nothing, or folders that end in a slash')
        .default(''),
      region: text(100).default('us-east-1'),
      endpoint: z.url({ protocol: /^https?$/ }).optional(),
      conditionalWrites: z.boolean().default(true),
    })
    .optional(),
  /** Keys of TUF's online roles, when the log signs the timestamp anew every day. */
  onlineKeys: z.strictObject({ timestamp: path, snapshot: path.optional() }).optional(),
});

/** The configuration of a log. Paths are absolute. */
export type LogConfig = z.output<typeof logConfigSchema>;

/** What is written in a configuration file. */
export type LogConfigSource = z.input<typeof logConfigSchema>;

/**
 * Loads the configuration of a log (YAML). Relative paths in it count from its folder.
 *
 * @throws {WartaError} `config-unreadable`, `config-invalid` naming the key.
 */
export function loadLogConfig(file: string): LogConfig {
  let source: unknown;
  try {
    source = parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    const code = cause instanceof Error && 'errno' in cause ? 'config-unreadable' : 'config-invalid';
    throw new WartaError(code, `cannot read the log's configuration ${file}: ${describeError(cause)}`, { cause });
  }
  return checkLogConfig(source, file);
}

/** Checks a configuration that is already an object; `file` names it and is what relative paths count from. */
export function checkLogConfig(source: unknown, file: string): LogConfig {
  const config = parseWith(logConfigSchema, source ?? {}, 'config-invalid', file);
  const base = dirname(resolve(file));
  const { heartbeat, onlineKeys } = config;
  return {
    ...config,
    key: resolve(base, config.key),
    state: resolve(base, config.state),
    public: resolve(base, config.public),
    sealed: resolve(base, config.sealed),
    root: resolve(base, config.root),
    policyPack: resolve(base, config.policyPack),
    heartbeat: heartbeat && { ...heartbeat, key: resolve(base, heartbeat.key) },
    onlineKeys: onlineKeys && {
      timestamp: resolve(base, onlineKeys.timestamp),
      snapshot: onlineKeys.snapshot && resolve(base, onlineKeys.snapshot),
    },
  };
}

/** What `warta log init` is told. */
export interface LogConfigTerms {
  readonly origin: string;
  readonly authority: string;
  readonly policyPack: string;
  readonly listen: string;
  readonly witnesses: readonly { name: string; url: string }[];
}

/** Composes a configuration file with a word on each key. */
export function composeLogConfig({ origin, authority, policyPack, listen, witnesses }: LogConfigTerms): string {
  const list = witnesses.map(({ name, url }) => `\n  - { name: ${JSON.stringify(name)}, url: ${JSON.stringify(url)} }`);
  return `# The log of a register. Relative paths count from this file's folder.
origin: ${JSON.stringify(origin)}  # name of the log, in every checkpoint; never changes
key: log.key            # signs checkpoints (mode 0600)
state: state            # the sequencer's own records
public: public          # the tree that mirrors serve; warta trust publishes into public/trust
sealed: sealed          # sealed annexes; never on a mirror
root: 1.root.json       # the register's first TUF root, a copy from where it was made
policyPack: ${JSON.stringify(policyPack)}
listen: ${JSON.stringify(listen)}  # plain HTTP: behind a proxy with TLS on anything but loopback
witnesses: ${list.length > 0 ? list.join('') : '[]'}
heartbeat: { key: heartbeat.key, authority: ${authority}, seconds: 3600 }
freshSeconds: 60        # cosignatures are renewed at least this often
# bucket: { name: register, region: eu-central-1 }  # publish to S3; endpoint: … for a store that is not Amazon's
# onlineKeys: { timestamp: timestamp.key, snapshot: snapshot.key }  # when the log is to sign TUF's timestamp every day
`;
}
