/**
 * Who someone is to the control API. One person may have several roles; what each may do is the table in `permissions.ts`.
 * `node` is a resolver with its own key, `public` is anyone, with or without an account.
 */
export const ROLES = [
  'case-officer',
  'approving-officer',
  'appeals-reviewer',
  'operator',
  'auditor',
  'node',
  'admin',
  'public',
] as const;

/** A role of the control API. */
export type Role = (typeof ROLES)[number];

/** Roles that a person can be given; the other two come with how a request is signed, or is not. */
export const PERSONAL_ROLES = [
  'case-officer',
  'approving-officer',
  'appeals-reviewer',
  'operator',
  'auditor',
  'admin',
] as const satisfies readonly Role[];

/** A role that a person can be given. */
export type PersonalRole = (typeof PERSONAL_ROLES)[number];

/** Roles of the regulator's staff. */
export const STAFF: readonly Role[] = ['case-officer', 'approving-officer', 'appeals-reviewer'];

/** Whoever a request comes from, as found by its token. */
export interface Actor {
  /** Id of the person, `licensee/node` of a node, `public` for anyone. An officer has the id that authorities.json gives. */
  readonly id: string;
  /** Always holds `public`. */
  readonly roles: ReadonlySet<Role>;
  /** The authority of regulator staff. */
  readonly authority?: string;
  /** The ISP of an operator or a node. */
  readonly licensee?: string;
}

/** Who a request without a token comes from. */
export const ANYONE: Actor = { id: 'public', roles: new Set(['public']) };
