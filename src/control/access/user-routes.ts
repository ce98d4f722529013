import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { instant, licenceNumber, slug, text } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import { type AddRoute, type Call, cutPage, findCursor, pageOf, pageQuery, requireMatch } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import type { Tables, UserRecord } from '../store.ts';
import { type AccountPowers, checkAccount } from './account-rules.ts';
import { type Actor, PERSONAL_ROLES, type Role } from './roles.ts';

const name = text(200);
const roles = z
  .array(z.enum(PERSONAL_ROLES))
  .min(1)
  .max(PERSONAL_ROLES.length)
  .refine((list) => new Set(list).size === list.length, 'a role is given twice');
const oidcSubject = z.string().min(1).max(255);

const userParams = z.strictObject({ id: slug });

const userBody = z.strictObject({
  id: slug,
  name,
  roles,
  authority: slug.optional(),
  licensee: licenceNumber.optional(),
  oidcSubject: oidcSubject.optional(),
});

/** What can be changed; `null` takes a value away. */
const userChanges = z
  .strictObject({
    name,
    roles,
    authority: slug.nullable(),
    licensee: licenceNumber.nullable(),
    oidcSubject: oidcSubject.nullable(),
    disabled: z.boolean(),
  })
  .partial()
  .refine((changes) => Object.keys(changes).length > 0, 'nothing to change');

const user = z.object({
  id: slug,
  name,
  roles: z.array(z.enum(PERSONAL_ROLES)),
  authority: slug.optional(),
  licensee: licenceNumber.optional(),
  /** For administrators only. */
  oidcSubject: oidcSubject.optional(),
  disabled: z.boolean(),
  createdAt: instant,
  version: z.int(),
});

const me = z.object({
  id: slug,
  name,
  /** The roles of this request's token. */
  roles: z.array(z.enum(PERSONAL_ROLES)),
  authority: slug.optional(),
  licensee: licenceNumber.optional(),
  /** Tokens that act for this person. One that the person knows nothing of is a reason to ask. */
  tokens: z.array(z.object({ id: z.string(), label: text(100), createdAt: instant, expiresAt: instant })),
});

const TAG = 'Accounts';

/** What an account is judged by as a whole when one of them changes. */
const POWERS = ['roles', 'authority', 'licensee'];

/** Most of a person's own tokens that are shown. */
const OWN_TOKENS_MAX = 100;

/** Adds the routes of accounts. */
export function addUserRoutes(add: AddRoute, services: ControlServices): void {
  add({
    route: 'GET /v1/me',
    summary: 'Show who asks',
    tag: TAG,
    response: me,
    async handle({ actor, tables, nowSeconds }) {
      const { authority, licensee, ...person } = await requireUser(tables, actor.id);
      const tokens = await tables.tokens.list({
        where: { userId: actor.id, revokedSeconds: null, expiresSeconds: { from: nowSeconds + 1 } },
        limit: OWN_TOKENS_MAX,
      });
      return {
        body: {
          id: actor.id,
          name: person.name,
          roles: PERSONAL_ROLES.filter((role) => actor.roles.has(role)),
          ...describeBelonging({ authority, licensee }),
          tokens: tokens.map(({ id, label, createdSeconds, expiresSeconds }) => ({
            ...{ id, label, createdAt: formatInstant(createdSeconds), expiresAt: formatInstant(expiresSeconds) },
          })),
        },
      };
    },
  });

  add({
    route: 'GET /v1/users',
    summary: 'List accounts',
    tag: TAG,
    query: pageQuery.extend({ authority: slug.optional(), licensee: licenceNumber.optional() }),
    response: pageOf(user),
    async handle({ query: { limit, cursor, authority, licensee }, tables, role }) {
      const records = await tables.users.list({
        where: { ...(authority && { authority }), ...(licensee && { licensee }) },
        after: await findCursor(tables.users, cursor),
        limit: limit + 1,
      });
      const { items, next } = cutPage(records, limit);
      return { body: { items: items.map((record) => describeUser(record, role)), next } };
    },
  });

  add({
    route: 'POST /v1/users',
    summary: 'Create an account',
    tag: TAG,
    body: userBody,
    response: user,
    status: 201,
    async handle({ actor, body, tables, nowSeconds, role }) {
      await requireAdmin(tables, actor);
      const record: UserRecord = {
        ...{ id: body.id, name: body.name, roles: body.roles },
        ...{
          authority: body.authority ?? null,
          licensee: body.licensee ?? null,
          oidcSubject: body.oidcSubject ?? null,
        },
        ...{ disabled: false, createdSeconds: nowSeconds, version: 1 },
      };
      await judge(record, services, tables, nowSeconds);
      if ((await tables.users.get(record.id)) !== undefined) throw taken(`an account ${record.id}`);
      await requireFreeSubject(tables, record);
      await tables.users.insert(record);
      return {
        body: describeUser(record, role),
        version: record.version,
        audit: { subject: subjectOf(record), after: record },
      };
    },
  });

  add({
    route: 'PATCH /v1/users/:id',
    summary: 'Change an account',
    tag: TAG,
    params: userParams,
    body: userChanges,
    response: user,
    async handle(call) {
      const { actor, params, body, tables, nowSeconds, role } = call;
      await requireAdmin(tables, actor);
      const before = await requireUser(tables, params.id);
      requireMatch(call, before);
      requireAnother(call);
      const after = { ...before, ...body };
      // An officer whose time is over can still be renamed and disabled.
      const isEnabled = before.disabled && body.disabled === false;
      if (isEnabled || POWERS.some((key) => key in body)) await judge(after, services, tables, nowSeconds);
      await requireFreeSubject(tables, after);
      const record = await tables.users.update(params.id, body, before.version);
      return {
        body: describeUser(record, role),
        version: record.version,
        audit: { subject: subjectOf(record), before, after: record },
      };
    },
  });
}

/**
 * Requires that nobody changes what they may do themselves, or who they are taken for; of one's own account only the name can be
 * changed. So there is always an administrator left, too.
 */
function requireAnother({
  actor,
  params,
  body,
}: Pick<Call<{ id: string }, unknown, object>, 'actor' | 'params' | 'body'>) {
  if (params.id !== actor.id || Object.keys(body).every((key) => key === 'name')) return;
  throw new WartaError('forbidden', 'of your own account you can change the name only: ask another administrator');
}

/** Two administrators who disable each other in the same moment must not both succeed: this is read in the transaction. */
async function requireAdmin(tables: Tables, actor: Actor): Promise<void> {
  const record = await tables.users.get(actor.id);
  if (record === undefined || record.disabled || !record.roles.includes('admin')) {
    throw new WartaError('forbidden', 'you are no administrator any more');
  }
}

function judge(powers: AccountPowers, { register }: ControlServices, tables: Tables, nowSeconds: number) {
  return checkAccount(powers, { authorities: register.authorities, tables, nowSeconds });
}

/** Requires that a sign-in leads to one account only. */
async function requireFreeSubject(tables: Tables, { id, oidcSubject }: UserRecord): Promise<void> {
  if (oidcSubject === null) return;
  const [other] = await tables.users.list({ where: { oidcSubject }, limit: 1 });
  if (other !== undefined && other.id !== id) throw taken('an account with this oidcSubject');
}

/** @throws {WartaError} `not-found`. */
export async function requireUser(tables: Tables, id: string): Promise<UserRecord> {
  const record = await tables.users.get(id);
  if (record === undefined) throw new WartaError('not-found', `there is no account ${id}`);
  return record;
}

function taken(what: string): WartaError {
  return new WartaError('conflict', `there is ${what} already`);
}

/** What an account is called in the trail of changes. */
export function subjectOf({ id }: { id: string }): string {
  return `users/${id}`;
}

function describeUser(record: UserRecord, role: Role): z.input<typeof user> {
  const { id, name, roles, oidcSubject, disabled, createdSeconds, version } = record;
  return {
    ...{ id, name, roles: [...roles], ...describeBelonging(record) },
    ...(role === 'admin' && oidcSubject !== null && { oidcSubject }),
    ...{ disabled, createdAt: formatInstant(createdSeconds), version },
  };
}

function describeBelonging({ authority, licensee }: Pick<UserRecord, 'authority' | 'licensee'>) {
  return { ...(authority !== null && { authority }), ...(licensee !== null && { licensee }) };
}
