import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { instant, slug, text } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import { type AddRoute, cutPage, findCursor, pageOf, pageQuery } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import type { TokenRecord } from '../store.ts';
import { createToken, TOKEN_MAX_DAYS } from './api-token.ts';
import { PERSONAL_ROLES } from './roles.ts';
import { requireUser } from './user-routes.ts';

const TAG = 'Accounts';
const DEFAULT_DAYS = 90;

const params = z.strictObject({ id: slug });

const tokenBody = z.strictObject({
  /** What it is for. */
  label: text(100),
  /** Narrow the person's roles; without any the token has them all, as they are at the time. */
  scopes: z.array(z.enum(PERSONAL_ROLES)).max(PERSONAL_ROLES.length).default([]),
  days: z.int().min(1).max(TOKEN_MAX_DAYS).default(DEFAULT_DAYS),
});

const token = z.object({
  id: z.uuid(),
  label: text(100),
  scopes: z.array(z.enum(PERSONAL_ROLES)),
  createdAt: instant,
  expiresAt: instant,
  revokedAt: instant.optional(),
});

/** The only answer that has the token itself. */
const newToken = token.extend({ token: z.string() });

/** Adds the routes of API tokens. */
export function addTokenRoutes(add: AddRoute, { clock, random }: ControlServices): void {
  add({
    route: 'GET /v1/users/:id/tokens',
    summary: 'List the tokens of an account',
    tag: TAG,
    params,
    query: pageQuery,
    response: pageOf(token),
    async handle({ params: { id: userId }, query: { limit, cursor }, tables }) {
      await requireUser(tables, userId);
      const after = await findCursor(tables.tokens, cursor);
      const records = await tables.tokens.list({ where: { userId }, after, limit: limit + 1 });
      const { items, next } = cutPage(records, limit);
      return { body: { items: items.map(describeToken), next } };
    },
  });

  add({
    route: 'POST /v1/users/:id/tokens',
    summary: 'Create a token; it is shown this once',
    tag: TAG,
    params,
    body: tokenBody,
    response: newToken,
    status: 201,
    async handle({ params: { id: userId }, body, tables }) {
      const user = await requireUser(tables, userId);
      if (user.disabled) throw new WartaError('conflict', `the account ${userId} is disabled`);
      const foreign = body.scopes.find((scope) => !user.roles.includes(scope));
      if (foreign !== undefined) throw new WartaError('request-invalid', `scopes: ${userId} is no ${foreign}`);
      const terms = { userId, label: body.label, scopes: body.scopes, days: body.days };
      const made = createToken({ ...terms, nowMillis: clock.wallMillis(), random });
      await tables.tokens.insert(made.record);
      return {
        body: { ...describeToken(made.record), token: made.token },
        audit: { subject: `users/${userId}/tokens/${made.record.id}`, reason: body.label, after: made.record },
      };
    },
  });

  add({
    route: 'DELETE /v1/tokens/:id',
    summary: 'Revoke a token, at once',
    tag: TAG,
    params: z.strictObject({ id: z.uuid() }),
    async handle({ params: { id }, tables, nowSeconds }) {
      const before = await tables.tokens.get(id);
      if (before === undefined) throw new WartaError('not-found', 'there is no such token');
      if (before.revokedSeconds !== null) return { audit: 'nothing changed' };
      const after = await tables.tokens.update(id, { revokedSeconds: nowSeconds });
      return { audit: { subject: `users/${before.userId}/tokens/${id}`, before, after } };
    },
  });
}

function describeToken({ id, label, scopes, createdSeconds, expiresSeconds, revokedSeconds }: TokenRecord) {
  return {
    ...{ id, label, scopes: [...scopes] },
    ...{ createdAt: formatInstant(createdSeconds), expiresAt: formatInstant(expiresSeconds) },
    ...(revokedSeconds !== null && { revokedAt: formatInstant(revokedSeconds) }),
  };
}
