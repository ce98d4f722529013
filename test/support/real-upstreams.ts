import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { askRaw, type Server } from './dns-client.ts';
import { composeQuery, TYPE } from './dns-message.ts';
import { makeFolder } from './folders.ts';
import { findFreePort } from './ports.ts';
import { type RunningProgram, startProgram } from './running-program.ts';
import { waitUntil } from './wait.ts';

/** A zone that an upstream serves: its name, and its records in master file format below SOA and NS. */
export interface Zone {
  name: string;
  records: string;
}

/** A resolver of another make, running. */
export interface RealUpstream extends Server {
  readonly program: RunningProgram;
}

/** Big enough to be truncated at 1232 octets; `huge` is also beyond 4096. */
const text = (count: number) => Array.from({ length: count }, (_, i) => `"${`part ${i} `.padEnd(100, '.')}"`).join(' ');

/** Records of every kind that a resolver in front may spoil, and aliases of every kind into a blocked zone. */
export const ZONES: readonly Zone[] = [
  {
    name: 'real.test',
    records: `
@ MX 10 mail
mail A 192.0.2.25
www A 192.0.2.10
www AAAA 2001:db8::10
MiXeD A 192.0.2.11
txt TXT "one" "two"
big TXT ${text(20)}
huge TXT ${text(60)}
alias CNAME www
chain CNAME chain2
chain2 CNAME deep.blocked.test.
good-tree DNAME good
name.good A 192.0.2.12
bad-tree DNAME tree.blocked.test.
https HTTPS 1 . alpn="h2,h3"
https-bad HTTPS 1 deep.blocked.test. alpn="h2"
svcb-bad SVCB 1 deep.blocked.test. alpn="h2"
https-alias HTTPS 0 www
*.wild A 192.0.2.13
`,
  },
  { name: 'blocked.test', records: '@ A 192.0.2.66\ndeep A 192.0.2.67\nname.tree A 192.0.2.68\n' },
];

const zoneText = ({ name, records }: Zone) =>
  `$ORIGIN ${name}.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n${records}`;

function writeZones(folder: string, zones: readonly Zone[]): { name: string; file: string }[] {
  return zones.map((zone) => {
    const file = join(folder, `${zone.name}.zone`);
    writeFileSync(file, zoneText(zone));
    return { name: zone.name, file };
  });
}

/**
 * Starts Unbound as a recursive resolver over zones of its own, without the Internet. `server` and `proxyPort` add to its
 * configuration.
 */
export async function startUnbound({ server = '', proxyPort }: { server?: string; proxyPort?: number } = {}) {
  const folder = makeFolder();
  const port = await findFreePort();
  const zones = writeZones(folder, ZONES);
  const file = join(folder, 'unbound.conf');
  writeFileSync(
    file,
    `server:
  interface: 127.0.0.1@${port}
${proxyPort === undefined ? '' : `  interface: 127.0.0.1@${proxyPort}\n  proxy-protocol-port: ${proxyPort}\n`}
  do-daemonize: no
  use-syslog: no
  logfile: ""
  chroot: ""
  username: ""
  directory: "${folder}"
  pidfile: ""
  module-config: "iterator"
  rrset-roundrobin: no
  num-threads: 1
  local-zone: "." transparent
  local-zone: "test." transparent
${server}
remote-control:
  control-enable: no
${zones.map((zone) => `auth-zone:\n  name: "${zone.name}"\n  zonefile: "${zone.file}"\n  for-upstream: yes\n  for-downstream: no\n  fallback-enabled: no\n`).join('')}`,
  );
  return serve(startProgram('unbound', ['-d', '-c', file]), port);
}

/** Starts BIND with recursion over the same zones. */
export async function startBind({ options = '' } = {}) {
  const folder = makeFolder();
  const port = await findFreePort();
  mkdirSync(join(folder, 'keys'));
  const zones = writeZones(folder, ZONES);
  const file = join(folder, 'named.conf');
  writeFileSync(
    file,
    `options {
  directory "${folder}";
  managed-keys-directory "${folder}/keys";
  listen-on port ${port} { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file none;
  session-keyfile none;
  recursion yes;
  allow-query { any; };
  allow-recursion { any; };
  dnssec-validation no;
  notify no;
  rrset-order { order none; };
  ${options}
};
controls { };
${zones.map((zone) => `zone "${zone.name}" { type primary; file "${zone.file}"; };\n`).join('')}`,
  );
  return serve(startProgram('named', ['-g', '-n', '1', '-c', file]), port);
}

/** Waits until the program answers for its zone. */
async function serve(program: RunningProgram, port: number): Promise<RealUpstream> {
  const upstream = { host: '127.0.0.1', port, program };
  let ended: number | string | undefined;
  void program.ended.then((how) => {
    ended = how;
  });
  await waitUntil('the upstream answers', async () => {
    if (ended !== undefined) throw new Error(`the upstream ended with ${ended}: ${program.output()}`);
    const query = composeQuery('www.real.test', { type: TYPE.A });
    return askRaw(upstream, query, 300).catch(() => undefined);
  });
  return upstream;
}
