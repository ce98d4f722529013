import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeDurably } from '../base/durable-file.ts';
import { WartaError } from '../base/errors.ts';
import { createToken } from '../control/access/api-token.ts';
import type { PersonalRole } from '../control/access/roles.ts';
import type { Tables, UserRecord } from '../control/store.ts';
import { openStore } from '../store/open-store.ts';
import { DEMO_AUTHORITY } from './demo-register.ts';

/** Everyone who has an account in the demo. Officers have the ids that authorities.json gives them. */
const ACCOUNTS = {
  'case-officer': { roles: ['case-officer'], authority: DEMO_AUTHORITY },
  'officer-one': { roles: ['approving-officer'], authority: DEMO_AUTHORITY },
  'officer-two': { roles: ['approving-officer'], authority: DEMO_AUTHORITY },
  reviewer: { roles: ['appeals-reviewer'], authority: DEMO_AUTHORITY },
  auditor: { roles: ['auditor'], authority: null },
  admin: { roles: ['admin'], authority: null },
} as const satisfies Record<string, { roles: readonly PersonalRole[]; authority: string | null }>;

/** Someone with an account in the demo. */
export type DemoPerson = keyof typeof ACCOUNTS;

const TOKEN_DAYS = 366;

/** Makes the accounts that are missing in a database that no process has open, each with a token in a file of `folder`. */
export async function prepareAccounts(database: string, folder: string, nowMillis: number): Promise<void> {
  const store = await openStore(database);
  try {
    const made = await store.transaction((tables) => addAccounts(tables, folder, nowMillis));
    for (const [id, token] of made) writeDurably(tokenFile(folder, id), `${token}\n`, 0o600);
  } finally {
    await store.close();
  }
}

/** Adds an account and a token for each whose token is not there; a start that was cut short goes on where it was. */
async function addAccounts(tables: Tables, folder: string, nowMillis: number): Promise<Map<string, string>> {
  const made = new Map<string, string>();
  const createdSeconds = Math.floor(nowMillis / 1000);
  for (const [id, { roles, authority }] of Object.entries(ACCOUNTS)) {
    if ((await tables.users.get(id)) === undefined) {
      const user: UserRecord = {
        ...{ id, name: `Demo ${id}`, roles, authority, licensee: null },
        ...{ oidcSubject: null, disabled: false, createdSeconds, version: 1 },
      };
      await tables.users.insert(user);
    }
    if (existsSync(tokenFile(folder, id))) continue;
    const terms = { userId: id, label: 'demo', scopes: [], days: TOKEN_DAYS, nowMillis, random: randomBytes };
    const { token, record } = createToken(terms);
    await tables.tokens.insert(record);
    made.set(id, token);
  }
  return made;
}

/** Reads the token of someone in the demo. */
export function readToken(folder: string, id: DemoPerson): string {
  const file = tokenFile(folder, id);
  if (!existsSync(file)) throw new WartaError('config-unreadable', `${file} is not there: begin with npm start`);
  return readFileSync(file, 'utf8').trim();
}

function tokenFile(folder: string, id: string): string {
  return join(folder, `${id}.token`);
}
