import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PeerDefinition } from './peer.ts';

/** Knot Resolver with a response policy zone. One process is one thread. */
export const knot: PeerDefinition = {
  name: 'knot',
  description: 'policy.rpz(policy.DENY, file), one process',
  binary: 'kresd',
  debianPackage: 'knot-resolver',
  forwards: false,
  restarts: false,
  prepare({ folder, port, upstreamPort, policyZone }) {
    const configPath = join(folder, 'kresd.conf');
    // The last argument of policy.rpz switches off the reload when the file changes.
    writeFileSync(
      configPath,
      `net.listen('127.0.0.1', ${port}, { kind = 'dns' })
cache.open(10 * MB, 'lmdb://${folder}')
modules = { 'policy' }
trust_anchors.remove('.')
policy.add(policy.rpz(policy.DENY, '${policyZone()}', false))
policy.add(policy.all(policy.STUB('127.0.0.1@${upstreamPort}')))
`,
    );
    return { command: 'kresd', args: ['-n', '-c', configPath, folder] };
  },
};
