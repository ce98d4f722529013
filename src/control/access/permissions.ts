import { type Role, STAFF } from './roles.ts';

const DRAFTERS: readonly Role[] = ['case-officer', 'approving-officer', 'appeals-reviewer'];
const APPROVERS: readonly Role[] = ['approving-officer'];
const RELEASERS: readonly Role[] = ['approving-officer', 'appeals-reviewer'];
const READERS: readonly Role[] = [...STAFF, 'auditor'];
const EVERYONE: readonly Role[] = ['public'];

/** What the types of statements other than notices are called in paths. */
export const CHANGE_COLLECTIONS = {
  stays: 'stay',
  resumptions: 'resumption',
  variations: 'variation',
  revocations: 'revocation',
  exemptions: 'exemption',
  halts: 'halt',
} as const;

/** A path of one type of statement other than notices. */
export type ChangeCollection = keyof typeof CHANGE_COLLECTIONS;

/** What is done with a draft of any type, by the path below its collection. */
const lifecycle = {
  'GET ': READERS,
  'POST ': DRAFTERS,
  'GET /:id': READERS,
  'PATCH /:id': DRAFTERS,
  'POST /:id/withdraw': DRAFTERS,
  'POST /:id/propose': DRAFTERS,
  'POST /:id/return': RELEASERS,
  'GET /:id/payload': READERS,
  'POST /:id/signatures': RELEASERS,
  'POST /:id/publish': RELEASERS,
} as const satisfies Record<string, readonly Role[]>;

type Lifecycle<Collection extends string> = {
  [Key in keyof typeof lifecycle as Key extends `${infer Method} ${infer Path}`
    ? `${Method} /v1/${Collection}${Path}`
    : never]: readonly Role[];
};

/** The lifecycle's routes of one collection. */
function lifecycleOf<Collection extends string>(collection: Collection): Lifecycle<Collection> {
  const routes = Object.entries(lifecycle).map(([key, roles]) => {
    const [method, path = ''] = key.split(' ');
    return [`${method} /v1/${collection}${path}`, roles];
  });
  return Object.fromEntries(routes);
}

/**
 * Who may do what: every route of the control API with the roles that may use it. A route that is not here cannot be added,
 * and a role that is not named gets 403. What a role may see and change *within* a route (its own authority, its own ISP,
 * never its own draft's approval) is the handler's part.
 */
export const PERMISSIONS = {
  // Health and description
  'GET /healthz': EVERYONE,
  'GET /readyz': EVERYONE,
  'GET /v1/openapi.json': EVERYONE,
  'GET /v1/pack': EVERYONE,

  // The register's files; signatures decide what is taken
  'GET /checkpoint': EVERYONE,
  'GET /nodes.json': EVERYONE,
  'GET /tile/*': EVERYONE,
  'GET /annex/*': EVERYONE,
  'GET /trust/*': EVERYONE,
  'GET /trust/timestamp.json': EVERYONE,
  'GET /receipts/*': EVERYONE,
  'GET /sealed/*': ['node'],
  'POST /receipts': EVERYONE,
  'POST /statements': EVERYONE,

  // The public register
  'GET /v1/register/notices': EVERYONE,
  'GET /v1/register/notices/:id': EVERYONE,
  'GET /v1/register/names/:name': EVERYONE,

  // Drafting, approval, signing, publication
  ...lifecycleOf('notices'),
  'POST /v1/notices/:id/approve': APPROVERS,
  'PUT /v1/notices/:id/entries': DRAFTERS,
  'GET /v1/notices/:id/entries': READERS,
  'GET /v1/notices/:id/annex': READERS,
  'POST /v1/notices/:id/preflight': READERS,
  'POST /v1/notices/:id/overrides': APPROVERS,
  'POST /v1/notices/:id/renew': DRAFTERS,
  ...lifecycleOf('stays'),
  'POST /v1/stays/:id/approve': RELEASERS,
  ...lifecycleOf('resumptions'),
  'POST /v1/resumptions/:id/approve': APPROVERS,
  ...lifecycleOf('variations'),
  'POST /v1/variations/:id/approve': RELEASERS,
  ...lifecycleOf('revocations'),
  'POST /v1/revocations/:id/approve': RELEASERS,
  ...lifecycleOf('exemptions'),
  'POST /v1/exemptions/:id/approve': RELEASERS,
  ...lifecycleOf('halts'),
  'POST /v1/halts/:id/approve': RELEASERS,

  // Appeals: filed and followed by anyone, with a secret instead of an account
  'POST /v1/appeals': EVERYONE,
  'GET /v1/appeals': [...READERS, 'admin'],
  'GET /v1/appeals/:reference': EVERYONE,
  'POST /v1/appeals/:reference/messages': EVERYONE,
  'POST /v1/appeals/:reference/withdraw': EVERYONE,
  'POST /v1/appeals/:reference/acknowledge': STAFF,
  'POST /v1/appeals/:reference/assess': ['appeals-reviewer'],
  'POST /v1/appeals/:reference/stay': ['appeals-reviewer'],
  'POST /v1/appeals/:reference/decide': ['appeals-reviewer'],
  'POST /v1/appeals/:reference/cure': ['appeals-reviewer'],
  'GET /v1/reminders': READERS,

  // The same on pages for people
  'GET /appeal': EVERYONE,
  'POST /appeal': EVERYONE,
  'GET /appeal/form': EVERYONE,
  'POST /appeal/form': EVERYONE,
  'GET /appeal/status': EVERYONE,
  'POST /appeal/status': EVERYONE,
  'GET /appeal/message': EVERYONE,
  'POST /appeal/message': EVERYONE,
  'GET /appeal/withdraw': EVERYONE,
  'POST /appeal/withdraw': EVERYONE,

  // Takedowns at the source
  'GET /v1/takedowns': READERS,
  'POST /v1/takedowns': STAFF,

  // Licensees, their nodes, what reached them
  'GET /v1/licensees': [...READERS, 'operator', 'admin'],
  'POST /v1/licensees': ['admin'],
  'GET /v1/licensees/:number': [...READERS, 'operator', 'admin'],
  'PATCH /v1/licensees/:number': ['admin'],
  'GET /v1/licensees/:number/compliance': [...READERS, 'operator'],
  'POST /v1/enrolment-codes': ['operator', 'admin'],
  'GET /v1/nodes': [...READERS, 'operator', 'admin'],
  'POST /v1/nodes': EVERYONE,
  'GET /v1/nodes/:licensee/:node': [...READERS, 'operator', 'admin'],
  'POST /v1/nodes/:licensee/:node/revoke': ['operator', 'admin'],
  'GET /v1/effect': [...READERS, 'operator', 'admin'],
  'GET /v1/effect/statements/:id': [...READERS, 'operator'],
  'GET /v1/receipts': [...READERS, 'operator', 'admin'],

  // Statistics
  'GET /v1/statistics': EVERYONE,

  // Webhooks
  'GET /v1/webhooks': ['operator', 'admin'],
  'POST /v1/webhooks': ['operator', 'admin'],
  'DELETE /v1/webhooks/:id': ['operator', 'admin'],
  'GET /v1/webhooks/:id/deliveries': ['operator', 'admin'],
  'POST /v1/webhooks/:id/deliveries/:delivery/retry': ['operator', 'admin'],

  // Accounts and the record of what they did
  'GET /v1/me': ['case-officer', 'approving-officer', 'appeals-reviewer', 'operator', 'auditor', 'admin'],
  'GET /v1/users': ['admin', 'auditor'],
  'POST /v1/users': ['admin'],
  'PATCH /v1/users/:id': ['admin'],
  'GET /v1/users/:id/tokens': ['admin'],
  'POST /v1/users/:id/tokens': ['admin'],
  'DELETE /v1/tokens/:id': ['admin'],
  'GET /v1/audit-records': ['auditor', 'admin'],
} as const satisfies Record<string, readonly Role[]>;

/** A method and a path of the control API, as the table of permissions spells it. */
export type RouteName = keyof typeof PERMISSIONS;
