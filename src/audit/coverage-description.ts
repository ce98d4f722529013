import { formatInstant } from '../register/time.ts';
import type { AuditReading } from './audit-register.ts';
import type { Cause } from './effects.ts';
import { type Coverage, countUnread } from './explain-name.ts';
import type { PageRule } from './replay.ts';

/** Says in words what an entry comes to, for one name. */
export function describeCoverage({ notice, state, causes, exclusion, refusal, page, answer }: Coverage): string {
  const { reference } = notice.statement;
  switch (state) {
    case 'in-force':
      return `${answer === 'redirect' ? 'redirected to the notice page' : 'blocked'} under ${reference}`;
    case 'page':
      return `${reference} is about one page of it: ${describePageRule(page!)}`;
    case 'excluded': {
      const by = exclusion?.statement === undefined ? reference : exclusion.statement.statement.reference;
      return `${reference} keeps ${exclusion!.name} reachable, by ${by}`;
    }
    case 'refused':
      return `the guard-rails let no notice block it (${refusal})`;
    case 'lifted':
      return causes.map((cause) => describeCause(reference, cause)).join('; ');
  }
}

/** Says in words which page is listed and where that holds. */
export function describePageRule({ url = '', query, https }: PageRule): string {
  const what = query === undefined ? url : `${url} with any query`;
  return `${what}, ${https === 'closed' ? 'HTTPS to the whole host closed' : 'on HTTP alone'}`;
}

/** Says in words why a notice's entry is not in force. */
export function describeCause(reference: string, { kind, statement, fromSeconds, untilSeconds }: Cause): string {
  const by = statement?.statement.reference;
  const from = formatInstant(fromSeconds);
  switch (kind) {
    case 'not-logged':
      return `${reference} is not in the log before ${formatInstant(untilSeconds)}`;
    case 'not-addressed':
      return `${reference} does not bind this licensee`;
    case 'not-yet':
      return `${reference} is not in force before ${formatInstant(untilSeconds)}`;
    case 'expired':
      return `${reference} ended at ${from}`;
    case 'entry-expired':
      return `its entry in ${reference} ended at ${from}`;
    case 'shortened':
      return `${reference} ended for it at ${from}, by ${by}`;
    default:
      return `${reference} is ${kind} for it from ${from}, by ${by}`;
  }
}

/** Sealed notices in force whose names are not at hand, in words. */
export function describeUnread(reading: AuditReading, licensee: string, atSeconds: number): string | undefined {
  const unread = countUnread(reading, licensee, atSeconds);
  return unread === 0 ? undefined : `${unread} sealed notices in force are not at hand; what they name is not covered`;
}
