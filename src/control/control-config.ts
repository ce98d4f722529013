import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { describeError, WartaError } from '../base/errors.ts';
import { parseWith, text } from '../register/fields.ts';
import { type LogConfig, loadLogConfig } from './publishing/log-config.ts';

const path = z.string().min(1).max(4096);
const address = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[0-9.]+):\d{1,5}$/, 'write an address and a port, such as 127.0.0.1:8400');

const oidcSchema = z
  .strictObject({
    issuer: z.url(),
    audience: text(200),
    /** Where the issuer publishes its keys, or a file with them. */
    jwksUri: z.url({ protocol: /^https?$/ }).optional(),
    jwksFile: path.optional(),
    /** Claim with roles that narrow what the account here gives, such as `warta_roles`. */
    rolesClaim: text(200).optional(),
  })
  .refine(({ jwksUri, jwksFile }) => (jwksUri === undefined) !== (jwksFile === undefined), {
    message: 'give one of jwksUri and jwksFile',
  });

const controlConfigSchema = z.strictObject({
  /** Configuration of the register's log. */
  log: path.default('log.yaml'),
  /** `sqlite:<file>` or `postgresql://…`; `WARTA_DATABASE` in the environment goes before it, as it may hold a password. */
  database: z.string().min(1).max(2000).default('sqlite:control.db'),
  /** Absent: where the log's configuration says. */
  listen: address.optional(),
  /** Whether this process may take the sequencer; the others serve the API and wait for it. */
  sequencer: z.boolean().default(true),
  trustedProxies: z.int().min(0).max(10).default(0),
  oidc: oidcSchema.optional(),
  /** Ranked list of popular names for the pre-flight: a name a line, or rank and name. */
  popularNames: path.optional(),
  /** Resolver that the pre-flight asks whether names are alive. */
  resolver: address.optional(),
  webhooks: z
    .strictObject({ key: path.default('webhook.key'), allowPrivateAddresses: z.boolean().default(false) })
    .default({ key: 'webhook.key', allowPrivateAddresses: false }),
  /** Where metrics are served; nowhere without it. */
  metrics: z.strictObject({ listen: address }).optional(),
});

/** The configuration of the control API. Paths are absolute. */
export interface ControlConfig extends Omit<z.output<typeof controlConfigSchema>, 'log' | 'listen'> {
  readonly log: LogConfig;
  readonly listen: string;
}

/** What is written in a configuration file. */
export type ControlConfigSource = z.input<typeof controlConfigSchema>;

/**
 * Loads the configuration of the control API (YAML) and the log's that it names. Relative paths count from its folder.
 *
 * @throws {WartaError} `config-unreadable`, `config-invalid` naming the key.
 */
export function loadControlConfig(file: string, environment: NodeJS.ProcessEnv = process.env): ControlConfig {
  let source: unknown;
  try {
    source = parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    const code = cause instanceof Error && 'errno' in cause ? 'config-unreadable' : 'config-invalid';
    throw new WartaError(code, `cannot read the configuration ${file}: ${describeError(cause)}`, { cause });
  }
  const config = parseWith(controlConfigSchema, source ?? {}, 'config-invalid', file);
  const base = dirname(resolve(file));
  const log = loadLogConfig(resolve(base, config.log));
  const { oidc, popularNames, webhooks } = config;
  return {
    ...config,
    log,
    listen: config.listen ?? log.listen,
    database: locateDatabase(environment.WARTA_DATABASE ?? config.database, base),
    oidc: oidc && { ...oidc, jwksFile: oidc.jwksFile && resolve(base, oidc.jwksFile) },
    popularNames: popularNames && resolve(base, popularNames),
    webhooks: { ...webhooks, key: resolve(base, webhooks.key) },
  };
}

/** Makes the path of an SQLite file absolute. */
function locateDatabase(target: string, base: string): string {
  if (/^postgres(ql)?:\/\//.test(target)) return target;
  return `sqlite:${resolve(base, target.replace(/^sqlite:/, ''))}`;
}

/** Composes a configuration file with a word on each key. */
export function composeControlConfig({ log, listen }: { log: string; listen?: string }): string {
  return `# The control API. Relative paths count from this file's folder.
log: ${JSON.stringify(log)}
database: sqlite:control.db   # or postgresql://…; with a password in it, rather in the environment as WARTA_DATABASE
${listen === undefined ? '# ' : ''}listen: ${JSON.stringify(listen ?? '127.0.0.1:8400')}   # plain HTTP: behind a proxy with TLS on anything but loopback
# sequencer: false            # serve the API only; another process on the same database takes the sequencer
# trustedProxies: 1           # proxies in front whose X-Forwarded-For counts, for rate limits only
# oidc: { issuer: https://login.example, audience: warta, jwksUri: https://login.example/jwks }
# popularNames: top.csv       # ranked names for the pre-flight
# resolver: 192.0.2.53:53     # asked by the pre-flight whether names are alive
webhooks: { key: webhook.key }
# metrics: { listen: 127.0.0.1:9101 }
`;
}
