import type { AddRoute } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import { addAuditRoutes } from './audit-routes.ts';
import { addTokenRoutes } from './token-routes.ts';
import { addUserRoutes } from './user-routes.ts';

/** Adds the routes of accounts, tokens and the trail of changes. */
export function addAccessRoutes(add: AddRoute, services: ControlServices): void {
  addUserRoutes(add, services);
  addTokenRoutes(add, services);
  addAuditRoutes(add);
}
