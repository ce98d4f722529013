import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { createToken } from '../../src/control/access/api-token.ts';
import type { PersonalRole } from '../../src/control/access/roles.ts';
import type { Store, UserRecord } from '../../src/control/store.ts';
import type { LogRegister } from './log-register.ts';

/** What an account of a test has. */
export interface TestAccount {
  readonly roles: readonly PersonalRole[];
  readonly authority?: string;
  readonly licensee?: string;
}

/** Writes the configuration of a register's log as `log.yaml`, for the control API as a process of its own. */
export function writeLogConfig({ config }: LogRegister, folder: string): void {
  const { origin, key, state, public: publicTree, sealed, root, policyPack, heartbeat } = config;
  const log = { origin, key, state, public: publicTree, sealed, root, policyPack, heartbeat, listen: '127.0.0.1:0' };
  writeFileSync(join(folder, 'log.yaml'), stringify(JSON.parse(JSON.stringify(log))));
}

/** Adds accounts and returns their tokens, both by id. */
export async function addAccounts(
  store: Store,
  accounts: Readonly<Record<string, TestAccount>>,
  nowMillis: number,
): Promise<Record<string, string>> {
  const made: Record<string, string> = {};
  await store.transaction(async (tables) => {
    for (const [id, { roles, authority = null, licensee = null }] of Object.entries(accounts)) {
      const times = { createdSeconds: Math.floor(nowMillis / 1000), version: 1 };
      const user: UserRecord = {
        id,
        name: id,
        roles,
        authority,
        licensee,
        oidcSubject: null,
        disabled: false,
        ...times,
      };
      await tables.users.insert(user);
      const terms = { userId: id, label: 'test', scopes: [], days: 365, nowMillis, random: randomBytes };
      const { token, record } = createToken(terms);
      await tables.tokens.insert(record);
      made[id] = token;
    }
  });
  return made;
}

/** A notice with everything but its reference and its names, as it is sent to the control API. */
export const COMPLETE_NOTICE = {
  instrument: 'cma-263',
  category: 'online-scams',
  offence: 'CMA 1998 s.233(1)(a)',
  reasons: { public: 'Pages that imitate a bank.' },
  recipients: { all: true },
  territory: 'Malaysia',
  dates: { made: 'now', effectiveFrom: 'now' },
  term: { expires: '30d' },
  proportionality: {
    alternatives: 'Takedown at the host.',
    sourceTakedown: { asked: true, detail: 'No answer.' },
    ownerWarned: { warned: false, detail: 'Unknown.' },
    coTenants: 'None.',
    balance: 'Narrow.',
  },
  redress: { body: 'Appeals desk', contacts: ['mailto:appeals@mcmc.example'], address: 'Cyberjaya', withinDays: 30 },
  languages: ['ms', 'en'],
};
