import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PeerDefinition } from './peer.ts';
import { POLICY_ZONE } from './policy-zone.ts';

/** Unbound with a response policy zone read from a file. */
export const unbound: PeerDefinition = {
  name: 'unbound',
  description: 'rpz: zonefile, module-config "respip iterator", num-threads 1',
  binary: 'unbound',
  debianPackage: 'unbound',
  forwards: false,
  restarts: false,
  prepare({ folder, port, upstreamPort, policyZone }) {
    const configPath = join(folder, 'unbound.conf');
    writeFileSync(
      configPath,
      `server:
  interface: 127.0.0.1
  port: ${port}
  num-threads: 1
  module-config: "respip iterator"
  do-not-query-localhost: no
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  directory: "${folder}"
  pidfile: ""
remote-control:
  control-enable: no
rpz:
  name: ${POLICY_ZONE}
  zonefile: "${policyZone()}"
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@${upstreamPort}
`,
    );
    return { command: 'unbound', args: ['-d', '-c', configPath] };
  },
};
