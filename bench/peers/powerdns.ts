import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PeerDefinition } from './peer.ts';
import { POLICY_ZONE } from './policy-zone.ts';

/**
 * PowerDNS Recursor with a response policy zone. Its packet cache stays on, as it is by default: a name asked again
 * within the zone's TTL of 60 s is answered from it, without the zone, at about twice the speed. So its figure depends
 * on how often queries repeat (`--queries`), unlike that of the others. Without `pdns-distributes-queries=no` a second
 * thread would share the work.
 */
export const powerdns: PeerDefinition = {
  name: 'powerdns',
  description: 'rpzFile, threads 1, packet cache on as by default (answers kept 60 s)',
  binary: 'pdns_recursor',
  debianPackage: 'pdns-recursor',
  forwards: false,
  restarts: false,
  prepare({ folder, port, upstreamPort, policyZone }) {
    const luaPath = join(folder, 'policy.lua');
    writeFileSync(luaPath, `rpzFile('${policyZone()}', {policyName='${POLICY_ZONE}'})\n`);
    writeFileSync(
      join(folder, 'recursor.conf'),
      `local-address=127.0.0.1:${port}
threads=1
pdns-distributes-queries=no
lua-config-file=${luaPath}
forward-zones-recurse=.=127.0.0.1:${upstreamPort}
dont-query=
dnssec=off
security-poll-suffix=
socket-dir=${folder}
daemon=no
disable-syslog=yes
write-pid=no
quiet=yes
`,
    );
    return { command: 'pdns_recursor', args: [`--config-dir=${folder}`] };
  },
};
