import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PeerDefinition } from './peer.ts';
import { POLICY_ZONE } from './policy-zone.ts';

/** BIND with a response policy zone, asked before recursion, and without a log line for each rewritten answer. */
export const bind: PeerDefinition = {
  name: 'bind',
  description: 'response-policy, qname-wait-recurse no, log no, -n 1',
  binary: 'named',
  debianPackage: 'bind9',
  forwards: false,
  restarts: false,
  prepare({ folder, port, upstreamPort, policyZone }) {
    const configPath = join(folder, 'named.conf');
    // Not -g: it sends every log line to stderr and ignores the logging statement.
    writeFileSync(
      configPath,
      `options {
  directory "${folder}";
  listen-on port ${port} { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file none;
  session-keyfile none;
  recursion yes;
  allow-query { any; };
  dnssec-validation no;
  notify no;
  forward only;
  forwarders { 127.0.0.1 port ${upstreamPort}; };
  response-policy { zone "${POLICY_ZONE}" log no; } qname-wait-recurse no;
};
logging {
  channel file { file "${join(folder, 'named.log')}"; severity info; };
  category default { file; };
};
controls { };
zone "${POLICY_ZONE}" { type primary; file "${policyZone()}"; allow-query { none; }; };
`,
    );
    return { command: 'named', args: ['-f', '-n', '1', '-c', configPath] };
  },
};
