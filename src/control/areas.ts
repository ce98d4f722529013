import { addAccessRoutes } from './access/access-routes.ts';
import { addAppealRoutes } from './appeals/appeal-routes.ts';
import { addAppealPages } from './appeals/pages/appeal-pages.ts';
import { addDraftingRoutes } from './drafting/drafting-routes.ts';
import { addEffectRoutes } from './effect/effect-routes.ts';
import { addHealthRoutes } from './http/health-routes.ts';
import type { AddRoute } from './http/route.ts';
import { addNodeRoutes } from './nodes/node-routes.ts';
import { addPublicRegisterRoutes } from './public-register/public-register-routes.ts';
import { addReminderRoutes } from './reviews/reminder-routes.ts';
import type { ControlServices } from './services.ts';
import { addStatisticsRoutes } from './statistics/statistics-routes.ts';
import { addTakedownRoutes } from './takedowns/takedown-routes.ts';
import { addWebhookRoutes } from './webhooks/webhook-routes.ts';

/** Adds the routes of one area. */
export type Area = (add: AddRoute, services: ControlServices) => void;

/** Every area of the control API; the register's files are added apart (`publishing/tree-routes.ts`). */
export const AREAS: readonly Area[] = [
  addHealthRoutes,
  addAccessRoutes,
  addDraftingRoutes,
  addNodeRoutes,
  addEffectRoutes,
  addPublicRegisterRoutes,
  addAppealRoutes,
  addAppealPages,
  addReminderRoutes,
  addTakedownRoutes,
  addStatisticsRoutes,
  addWebhookRoutes,
];
