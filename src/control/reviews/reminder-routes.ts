import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { instant, slug } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import type { Actor } from '../access/roles.ts';
import { type AddRoute, pageOf, pageQuery } from '../http/route.ts';
import type { ControlServices } from '../services.ts';
import type { ReminderRecord, Tables } from '../store.ts';

const reminderQuery = pageQuery.extend({ state: z.enum(['open', 'settled']).optional() });

type ReminderQuery = z.output<typeof reminderQuery>;

const reminderView = z.object({
  id: z.string(),
  kind: z.string(),
  subject: z.string(),
  authority: slug,
  due: instant,
  overdue: z.boolean(),
  toldAt: instant.optional(),
  settledAt: instant.optional(),
});

/** Adds the route of reminders. */
export function addReminderRoutes(add: AddRoute, _services: ControlServices): void {
  add({
    route: 'GET /v1/reminders',
    summary:
      'List what falls due, open ones first: reviews, expiries, clocks of appeals, late releases, forgotten drafts',
    tag: 'Reminders',
    query: reminderQuery,
    response: pageOf(reminderView),
    handle: async ({ tables, actor, query, nowSeconds }) => {
      const { reminders, next } = await listReminders(tables, actor, query);
      return { body: { items: reminders.map((one) => viewReminder(one, nowSeconds)), next } };
    },
  });
}

/** Lists reminders: the open ones by when they are due, then the settled, those of last first. */
export async function listReminders(
  tables: Tables,
  { roles, authority = '' }: Actor,
  { limit, cursor, state }: ReminderQuery,
): Promise<{ reminders: ReminderRecord[]; next?: string }> {
  const own = roles.has('auditor') ? {} : { authority };
  const [part = state === 'settled' ? 'settled' : 'open', id] = parseCursor(cursor);
  const after = id === undefined ? undefined : await readCursor(tables, id);
  const found: ReminderRecord[] = [];
  if (part === 'open') {
    const where = { ...own, settledSeconds: null };
    found.push(...(await tables.reminders.list({ where, orderBy: 'dueSeconds', after, limit: limit + 1 })));
  }
  if (state !== 'open' && found.length <= limit) {
    const where = { ...own, settledSeconds: { from: 0 } };
    const order = { orderBy: 'settledSeconds', descending: true } as const;
    const rest = { after: part === 'settled' ? after : undefined, limit: limit + 1 - found.length };
    found.push(...(await tables.reminders.list({ where, ...order, ...rest })));
  }
  const reminders = found.slice(0, limit);
  const last = found.length > limit ? reminders.at(-1) : undefined;
  return { reminders, next: last && `${last.settledSeconds === null ? 'open' : 'settled'}:${last.id}` };
}

/** A cursor says in which part it lies, since a reminder may be settled between two pages. */
function parseCursor(cursor: string | undefined): [('open' | 'settled')?, string?] {
  if (cursor === undefined) return [];
  const [, part, id] = /^(open|settled):(.+)$/.exec(cursor) ?? [];
  if (id === undefined) throw badCursor();
  return [part as 'open' | 'settled', id];
}

async function readCursor(tables: Tables, id: string): Promise<ReminderRecord> {
  const found = await tables.reminders.get(id);
  if (found === undefined) throw badCursor();
  return found;
}

function badCursor(): WartaError {
  return new WartaError('request-invalid', 'cursor: give the next of the page before');
}

function viewReminder(reminder: ReminderRecord, nowSeconds: number): z.output<typeof reminderView> {
  const { id, kind, subject, authority, dueSeconds, toldSeconds, settledSeconds } = reminder;
  return {
    id,
    kind,
    subject,
    authority,
    due: formatInstant(dueSeconds),
    overdue: settledSeconds === null && dueSeconds < nowSeconds,
    toldAt: toldSeconds === null ? undefined : formatInstant(toldSeconds),
    settledAt: settledSeconds === null ? undefined : formatInstant(settledSeconds),
  };
}
