import { z } from 'zod';
import { digest, instant } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import { type AddRoute, pageQuery } from '../http/route.ts';
import type { AuditRecord } from '../store.ts';

const auditRecord = z.object({
  sequence: z.int(),
  at: instant,
  actor: z.string(),
  role: z.string(),
  action: z.string(),
  subject: z.string(),
  reason: z.string().nullable(),
  /** SHA-256 of the canonical JSON of what was changed. */
  beforeHash: digest.nullable(),
  afterHash: digest.nullable(),
  previousHash: digest,
  /**
   * SHA-256 of the canonical JSON (RFC 8785) of all the other fields, with `atSeconds`, the seconds since the epoch, in the
   * place of `at`.
   */
  hash: digest,
});

/** The newest record. Whoever keeps it can tell later whether records were altered or taken out. */
const head = z.object({ sequence: z.int(), hash: digest });

const query = pageQuery.extend({
  /** Exactly this subject, such as `users/aminah`. */
  subject: z.string().min(1).max(300).optional(),
  actor: z.string().min(1).max(200).optional(),
  /** The `next` of the page before: a sequence number. */
  cursor: z
    .string()
    .regex(/^\d{1,15}$/, 'expected the next of the page before')
    .optional(),
});

/** Adds the route that shows the trail of changes. There is none that alters it. */
export function addAuditRoutes(add: AddRoute): void {
  add({
    route: 'GET /v1/audit-records',
    summary: 'Read the trail of changes, oldest first',
    tag: 'Audit',
    query,
    response: z.object({ items: z.array(auditRecord), next: z.string().optional(), head: head.optional() }),
    async handle({ query: { limit, cursor, subject, actor }, tables: { audit } }) {
      const afterSequence = cursor === undefined ? undefined : Number(cursor);
      const records = await audit.list({ afterSequence, subject, actor, limit: limit + 1 });
      const newest = await audit.head();
      const items = records.slice(0, limit).map(describeRecord);
      return {
        body: {
          items,
          ...(records.length > limit && { next: String(items.at(-1)!.sequence) }),
          ...(newest && { head: { sequence: newest.sequence, hash: newest.hash } }),
        },
      };
    },
  });
}

function describeRecord({ atSeconds, ...record }: AuditRecord): z.input<typeof auditRecord> {
  return { ...record, at: formatInstant(atSeconds) };
}
