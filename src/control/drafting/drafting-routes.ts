import type { AddRoute } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import { COLLECTIONS, type DraftCollection } from './draft-body.ts';
import { addDraftRoutes } from './draft-routes.ts';
import { EntryComposer } from './entries/entry-composer.ts';
import { addNoticeRoutes } from './notice-routes.ts';

/** Adds the routes by which statements are drafted, looked over, approved, signed and handed to the log. */
export function addDraftingRoutes(add: AddRoute, services: ControlServices): void {
  for (const collection of Object.keys(COLLECTIONS) as DraftCollection[]) addDraftRoutes(add, services, collection);
  addNoticeRoutes(add, services, new EntryComposer());
}
