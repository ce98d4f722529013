import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { instant, licenceNumber, slug, text } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import { type AddRoute, cutPage, findCursor, pageOf, pageQuery, requireMatch } from '../http/route.ts';
import type { LicenseeRecord, Tables } from '../store.ts';
import { boundLicensee, requireLicensee } from './own-licensee.ts';

const TAG = 'Licensees and nodes';

const classes = z
  .array(slug)
  .max(16)
  .refine((list) => new Set(list).size === list.length, 'a class is given twice');

const licenseeSchema = z.object({
  number: licenceNumber,
  name: text(200),
  classes,
  createdAt: instant,
  version: z.int(),
});

const changesSchema = z
  .strictObject({ name: text(200), classes })
  .partial()
  .refine((changes) => Object.keys(changes).length > 0, 'nothing to change');

function describeLicensee({ id, name, classes, createdSeconds, version }: LicenseeRecord) {
  return { number: id, name, classes: [...classes], createdAt: formatInstant(createdSeconds), version };
}

async function requireRecord(tables: Tables, number: string): Promise<LicenseeRecord> {
  const record = await tables.licensees.get(number);
  if (record === undefined) throw new WartaError('not-found', `there is no licensee ${number}`);
  return record;
}

/** Adds the routes of ISPs under licence. */
export function addLicenseeRoutes(add: AddRoute): void {
  add({
    route: 'GET /v1/licensees',
    summary: 'List ISPs under licence',
    tag: TAG,
    query: pageQuery,
    response: pageOf(licenseeSchema),
    async handle(call) {
      const { tables } = call;
      const { limit, cursor } = call.query;
      const own = boundLicensee(call);
      const records = await tables.licensees.list({
        where: own === undefined ? {} : { id: own },
        after: await findCursor(tables.licensees, cursor),
        limit: limit + 1,
      });
      const { items, next } = cutPage(records, limit);
      return { body: { items: items.map(describeLicensee), next } };
    },
  });
  add({
    route: 'POST /v1/licensees',
    summary: 'Add an ISP',
    tag: TAG,
    body: z.strictObject({ number: licenceNumber, name: text(200), classes: classes.default([]) }),
    response: licenseeSchema,
    status: 201,
    async handle({ body: { number, name, classes }, tables, nowSeconds }) {
      if ((await tables.licensees.get(number)) !== undefined) {
        throw new WartaError('conflict', `there is a licensee ${number} already`);
      }
      const record: LicenseeRecord = { id: number, name, classes, createdSeconds: nowSeconds, version: 1 };
      await tables.licensees.insert(record);
      return {
        body: describeLicensee(record),
        version: record.version,
        audit: { subject: `licensees/${number}`, after: record },
      };
    },
  });
  add({
    route: 'GET /v1/licensees/:number',
    summary: 'Show an ISP',
    tag: TAG,
    params: z.strictObject({ number: licenceNumber }),
    response: licenseeSchema,
    async handle(call) {
      requireLicensee(call, call.params.number);
      const record = await requireRecord(call.tables, call.params.number);
      return { body: describeLicensee(record), version: record.version };
    },
  });
  add({
    route: 'PATCH /v1/licensees/:number',
    summary: 'Change an ISP',
    tag: TAG,
    params: z.strictObject({ number: licenceNumber }),
    body: changesSchema,
    response: licenseeSchema,
    async handle(call) {
      const { body, params, tables } = call;
      const before = await requireRecord(tables, params.number);
      requireMatch(call, before);
      const after = await tables.licensees.update(before.id, body, before.version);
      return {
        body: describeLicensee(after),
        version: after.version,
        audit: { subject: `licensees/${after.id}`, before, after },
      };
    },
  });
}
