import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nameAt, writeLines } from '../names.ts';
import type { PeerDefinition } from './peer.ts';

/** dnsdist: a suffix tree of names in front of one downstream server, without its packet cache. */
export const dnsdist: PeerDefinition = {
  name: 'dnsdist',
  description: 'newSuffixMatchNode, RCodeAction(NXDOMAIN), one listener, no packet cache',
  binary: 'dnsdist',
  debianPackage: 'dnsdist',
  forwards: true,
  restarts: false,
  prepare({ folder, port, upstreamPort, ruleCount }) {
    const listPath = join(folder, 'names.txt');
    const configPath = join(folder, 'dnsdist.conf');
    writeLines(listPath, ruleCount, nameAt);
    // The rule copies the tree, so the original is dropped: else the memory figure would count it twice.
    writeFileSync(
      configPath,
      `setLocal('127.0.0.1:${port}')
setSecurityPollSuffix('')
setMaxUDPOutstanding(65535)
newServer({address='127.0.0.1:${upstreamPort}', name='echo', healthCheckMode='up'})
local listed = newSuffixMatchNode()
for name in io.lines('${listPath}') do listed:add(name) end
addAction(SuffixMatchNodeRule(listed, true), RCodeAction(DNSRCode.NXDOMAIN))
listed = nil
collectgarbage()
`,
    );
    return { command: 'dnsdist', args: ['-C', configPath, '--supervised', '--disable-syslog'] };
  },
};
