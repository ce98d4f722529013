import { WartaError } from '../../base/errors.ts';
import { parseWith, slug, text } from '../../register/fields.ts';
import { hashRecord } from '../http/route.ts';
import type { Store, UserRecord } from '../store.ts';
import { requireOrdinaryId } from './account-rules.ts';
import { createToken } from './api-token.ts';

/** Who the first administrator is. */
export interface FirstAdminTerms {
  readonly id: string;
  readonly name: string;
  readonly nowMillis: number;
  /** Returns that many unpredictable bytes. */
  readonly random: (sizeBytes: number) => Uint8Array;
  /** Makes one although there are accounts: for when every administrator has lost access. */
  readonly isRecovery?: boolean;
}

/** Life of the first token: time enough to set up accounts and sign-in, and to make another. */
const FIRST_TOKEN_DAYS = 7;

/**
 * Makes the first account, that of an administrator, and returns its token. Whoever can open the database can do this; the
 * trail of changes shows it.
 *
 * @throws {WartaError} `conflict` when there are accounts already, `usage` and `request-invalid` for an id or a name that is none.
 */
export async function createFirstAdmin(store: Store, terms: FirstAdminTerms): Promise<string> {
  const id = parseWith(slug, terms.id, 'usage', 'id');
  const name = parseWith(text(200), terms.name, 'usage', 'name');
  requireOrdinaryId(id);
  const { nowMillis, random, isRecovery = false } = terms;
  const atSeconds = Math.floor(nowMillis / 1000);
  const user: UserRecord = {
    ...{ id, name, roles: ['admin'], authority: null, licensee: null, oidcSubject: null },
    ...{ disabled: false, createdSeconds: atSeconds, version: 1 },
  };
  const { token, record } = createToken({
    ...{ userId: id, label: 'first token', scopes: [], days: FIRST_TOKEN_DAYS, nowMillis, random },
  });
  await store.transaction(async (tables) => {
    if (!isRecovery && (await tables.users.count()) > 0) {
      throw new WartaError('conflict', 'there are accounts already: ask an administrator for one');
    }
    await tables.users.insert(user);
    await tables.tokens.insert(record);
    const entry = {
      atSeconds,
      actor: 'warta',
      role: 'admin',
      action: isRecovery ? 'recover access' : 'create first administrator',
      reason: null,
      beforeHash: null,
    };
    await tables.audit.append({ ...entry, subject: `users/${id}`, afterHash: hashRecord(user) });
    await tables.audit.append({ ...entry, subject: `users/${id}/tokens/${record.id}`, afterHash: hashRecord(record) });
  });
  return token;
}
