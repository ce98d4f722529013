import { hash, timingSafeEqual } from 'node:crypto';
import { DAY_SECONDS } from '../../register/time.ts';
import { createRecordId } from '../record-id.ts';
import type { TokenRecord } from '../store.ts';
import type { PersonalRole } from './roles.ts';

/** Longest life of a token. */
export const TOKEN_MAX_DAYS = 366;

const SECRET_BYTES = 32;

/** Base64url has `_` too, so the parts are told apart by their length. */
const TOKEN = /^wt_(?<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})_(?<secret>[A-Za-z0-9_-]{43})$/;

/** What a token is made of besides chance. */
export interface TokenTerms {
  readonly userId: string;
  readonly label: string;
  /** Narrow the person's roles; empty leaves them as they are. */
  readonly scopes: readonly PersonalRole[];
  readonly days: number;
  readonly nowMillis: number;
  /** Returns that many unpredictable bytes. */
  readonly random: (sizeBytes: number) => Uint8Array;
}

/**
 * Makes a token, `wt_<id>_<secret>`, and the record that is kept of it, without the secret. A fast hash is enough for a
 * secret of 256 bits: nobody tries them all.
 */
export function createToken(terms: TokenTerms): { token: string; record: TokenRecord } {
  const { userId, label, scopes, days, nowMillis, random } = terms;
  const id = createRecordId(nowMillis, random);
  const secret = Buffer.from(random(SECRET_BYTES)).toString('base64url');
  const createdSeconds = Math.floor(nowMillis / 1000);
  const record: TokenRecord = {
    id,
    userId,
    hash: hash('sha256', secret),
    label,
    scopes,
    createdSeconds,
    expiresSeconds: createdSeconds + days * DAY_SECONDS,
    revokedSeconds: null,
  };
  return { token: `wt_${id}_${secret}`, record };
}

/** A token as it was presented. */
export interface PresentedToken {
  readonly id: string;
  readonly secret: string;
}

/** Takes a token apart; `undefined` for what is none. */
export function parseToken(text: string): PresentedToken | undefined {
  return TOKEN.exec(text)?.groups as PresentedToken | undefined;
}

/** Compared with when there is no such token, so that its absence takes as long as a wrong secret. */
const NO_HASH = '0'.repeat(64);

/** Whether a presented token has the secret of `record`, in a time that does not tell how much of it is right. */
export function matchesToken({ secret }: PresentedToken, record: TokenRecord | undefined): record is TokenRecord {
  const isSame = timingSafeEqual(Buffer.from(hash('sha256', secret)), Buffer.from(record?.hash ?? NO_HASH));
  return isSame && record !== undefined;
}
