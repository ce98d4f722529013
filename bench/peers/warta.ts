import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DemoRegister, PACK_FILE } from '../../src/cli/demo-register.ts';
import { draftNotice } from '../notice-draft.ts';
import type { PeerDefinition } from './peer.ts';

/** Names in one notice: a register of a thousand notices rather than one giant. */
const NAMES_PER_NOTICE = 1000;

/** Warta's own resolver with one data-plane worker, fed from signed statements; the second start takes the saved table. */
export const warta: PeerDefinition = {
  name: 'warta',
  description: `signed notices of ${NAMES_PER_NOTICE} names, two signatures each; one data-plane worker`,
  binary: process.execPath,
  debianPackage: 'nodejs',
  forwards: true,
  restarts: true,
  prepare({ folder, port, upstreamPort, ruleCount, rescanSeconds = 3600 }) {
    const nowSeconds = Math.floor(Date.now() / 1000);
    const register = new DemoRegister(folder);
    for (let first = 0; first < ruleCount; first += NAMES_PER_NOTICE) {
      const count = Math.min(NAMES_PER_NOTICE, ruleCount - first);
      const number = first / NAMES_PER_NOTICE;
      register.publish(`notice-${number}`, draftNotice(number, first, count), nowSeconds);
    }
    register.writeAuthorities(nowSeconds);
    const configPath = join(folder, 'warta.json');
    writeFileSync(
      configPath,
      JSON.stringify({
        state: join(folder, 'state'),
        register: {
          licensee: 'BENCH-1',
          directory: register.directory,
          authorities: register.authoritiesFile,
          policyPack: PACK_FILE,
          rescanSeconds,
        },
        resolver: {
          listen: [`127.0.0.1:${port}`],
          upstreams: [`127.0.0.1:${upstreamPort}`],
          workers: 1,
          responsesPerSecond: 0,
        },
        metrics: { listen: `127.0.0.1:${port + 1000}` },
      }),
    );
    const program = new URL('../../src/cli/warta.ts', import.meta.url).pathname;
    return { command: process.execPath, args: [program, 'resolver', '--config', configPath] };
  },
};
