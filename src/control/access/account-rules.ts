import { WartaError } from '../../base/errors.ts';
import type { Authorities, Officer } from '../../register/authorities.ts';
import type { Tables, UserRecord } from '../store.ts';
import { type PersonalRole, STAFF } from './roles.ts';

/** The part of an account that says what its person may do. */
export type AccountPowers = Pick<UserRecord, 'id' | 'roles' | 'authority' | 'licensee'>;

/** What an account is judged by. */
export interface AccountTerms {
  readonly authorities: Authorities;
  readonly tables: Pick<Tables, 'licensees'>;
  readonly nowSeconds: number;
}

/**
 * Kinds of account; each has roles of one kind only. Who runs the accounts, who decides about blocks, who carries them out
 * and who audits all that are different people.
 */
const KINDS: readonly (readonly string[])[] = [STAFF, ['operator'], ['auditor'], ['admin']];

/** Roles that an officer of authorities.json can have here. An appeals reviewer drafts releases in that role. */
const FITTING: Record<Officer['role'], readonly PersonalRole[]> = {
  'case-officer': ['case-officer'],
  'approving-officer': ['case-officer', 'approving-officer'],
  'appeals-reviewer': ['appeals-reviewer'],
};

/** Names in the trail of changes that are no person's. */
const RESERVED: ReadonlySet<string> = new Set([
  'public',
  'appellant',
  'node',
  'server',
  'sequencer',
  'system',
  'warta',
]);

/**
 * Requires that an account may have the roles it is given: all of one kind, staff as authorities.json names them, operators
 * with a licensee that is on record. Nobody else takes the id of an officer: drafts and approvals are known by it.
 *
 * @throws {WartaError} `request-invalid` with what does not fit.
 */
export async function checkAccount(account: AccountPowers, terms: AccountTerms): Promise<void> {
  const { id, roles, authority, licensee } = account;
  requireOrdinaryId(id);
  const kind = KINDS.find((one) => roles.every((role) => one.includes(role)));
  if (kind === undefined || roles.length === 0) {
    throw invalid(
      'roles: staff of an authority, operator, auditor and admin are separate accounts of different people',
    );
  }
  const isStaff = kind === STAFF;
  const isOperator = kind.includes('operator');
  if (isStaff !== (authority !== null)) throw invalid('authority: for staff, and for nobody else');
  if (isOperator !== (licensee !== null)) throw invalid('licensee: for operators, and for nobody else');
  checkOfficer(account, terms);
  if (licensee !== null && (await terms.tables.licensees.get(licensee)) === undefined) {
    throw invalid(`licensee: there is no ${licensee}: add it first`);
  }
}

/**
 * Requires an id that the trail of changes uses for nothing else.
 *
 * @throws {WartaError} `request-invalid`.
 */
export function requireOrdinaryId(id: string): void {
  if (RESERVED.has(id)) throw invalid(`id: ${id} is not a person's`);
}

/** Requires staff to be officers that authorities.json names with a fitting role, and others not to have an officer's id. */
function checkOfficer({ id, roles, authority }: AccountPowers, { authorities, nowSeconds }: AccountTerms): void {
  if (authority === null) {
    const named = [...authorities.byId.values()].find(({ officers }) => officers.some((officer) => officer.id === id));
    if (named !== undefined) throw invalid(`id: ${id} is an officer of ${named.id}`);
    return;
  }
  const officer = authorities.byId.get(authority)?.officers.find((one) => one.id === id);
  if (officer === undefined) throw invalid(`id: authorities.json names no officer ${id} of ${authority}`);
  if (nowSeconds >= officer.validUntilSeconds) throw invalid(`id: the time of officer ${id} is over`);
  const unfit = roles.find((role) => !FITTING[officer.role].includes(role));
  if (unfit !== undefined)
    throw invalid(`roles: authorities.json has ${id} as ${officer.role}, who cannot be ${unfit}`);
}

/**
 * Whether authorities.json has someone as an officer whose time is not over: what an account of staff needs at every request,
 * so that whoever is revoked there loses her roles here as well.
 */
export function isServing(authorities: Authorities, authority: string, id: string, nowSeconds: number): boolean {
  const officer = authorities.byId.get(authority)?.officers.find((one) => one.id === id);
  return officer !== undefined && nowSeconds < officer.validUntilSeconds;
}

function invalid(message: string): WartaError {
  return new WartaError('request-invalid', message);
}
