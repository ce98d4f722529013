import { type AddRoute, cutPage, pageOf } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import { listTakedowns, recordTakedown, takedownForm, takedownQuery, takedownView, viewTakedown } from './takedowns.ts';

const TAG = 'Takedowns';

/** Adds the routes of takedowns at the source, which are never counted as blocks. */
export function addTakedownRoutes(add: AddRoute, services: ControlServices): void {
  add({
    route: 'GET /v1/takedowns',
    summary: 'List items that platforms were asked to remove, newest request first',
    tag: TAG,
    query: takedownQuery,
    response: pageOf(takedownView),
    handle: async ({ tables, actor, query }) => {
      const page = cutPage(await listTakedowns(tables, actor, query), query.limit);
      return { body: { ...page, items: page.items.map(viewTakedown) } };
    },
  });
  add({
    route: 'POST /v1/takedowns',
    summary: 'Record that a platform was asked to remove items; later, with id and removedAt, that it did',
    tag: TAG,
    body: takedownForm,
    response: takedownView,
    status: 201,
    prepare: async ({ nowSeconds }) => (await services.trust.read(nowSeconds)).pack,
    handle: async ({ tables, actor, nowSeconds, body }, pack) => {
      const { before, after } = await recordTakedown({ tables, services, actor, nowSeconds, pack }, body);
      return { body: viewTakedown(after), audit: { subject: `takedowns/${after.id}`, before, after } };
    },
  });
}
