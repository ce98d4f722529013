import { z } from 'zod';
import { type ErrorCode, WartaError } from '../base/errors.ts';
import { canonicaliseName, fitsWire } from './entry-name.ts';
import { parseInstant } from './time.ts';

/** A name of something inside a file: `online-scams`, `cma-263`. */
export const slug = z
  .string()
  .regex(/^[a-z0-9][a-z0-9.-]{0,63}$/, 'expected lower-case letters, digits, dots, hyphens');

/** A lower-case hexadecimal SHA-256. */
export const digest = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hexadecimal digits');

/** A time: RFC 3339, UTC, whole seconds. */
export const instant = z
  .string()
  .refine((text) => parseInstant(text) !== undefined, 'expected a time such as 2026-03-01T09:00:00Z');

/** The stable id of an entry inside its notice. */
export const entryId = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'expected 1 to 64 letters, digits, dots, hyphens');

/** A licence number of an ISP. */
export const licenceNumber = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9()./_-]{0,63}$/, 'expected a licence number of at most 64 characters');

/** A reference of a document; ASCII, because it is the EXTRA-TEXT of every answer (RFC 8914). */
export const reference = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9 ()./_-]{0,119}$/, 'expected a reference of at most 120 ASCII characters');

/** A canonical name that fits the wire. */
export const canonicalName = z
  .string()
  .refine((name) => canonicaliseName(name) === name && fitsWire(name), 'expected a lower-case name in A-labels');

/** A language tag such as `ms` or `zh-Hant`. */
export const language = z.string().regex(/^[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,2}$/, 'expected a language tag');

/** Non-empty text of at most `max` characters. */
export function text(max: number) {
  return z.string().min(1).max(max);
}

/** Parses `value` with `schema`; a refusal carries `code` and names the first offending key. */
export function parseWith<S extends z.ZodType>(schema: S, value: unknown, code: ErrorCode, what: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { key, message } = describeIssue(result.error.issues[0]);
  throw new WartaError(code, `${what}: ${key}: ${message}`, { cause: result.error });
}

/** Returns the key and the fault of an issue; of a union, those of the form that was nearest to what was given. */
export function describeIssue(issue: z.core.$ZodIssue): { key: string; message: string } {
  const path = issue.path.map(String);
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    // A fault deep down tells of a form that was meant; one at the top only of another kind of value.
    const [nearest] = issue.errors.toSorted(
      (one, other) => one.length - other.length || other[0].path.length - one[0].path.length,
    );
    const inner = describeIssue(nearest[0]);
    return { key: [...path, inner.key].join('.').replace(/\.top level$/, ''), message: inner.message };
  }
  return { key: path.join('.') || 'top level', message: issue.message };
}
