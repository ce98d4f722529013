import type { Logger } from 'pino';
import { describeError, WartaError } from '../../base/errors.ts';
import type { LogEvent } from './log-site.ts';

/** Writes a line on what happened. It never says who asked. */
export function tellEvent(log: Logger, event: LogEvent): void {
  if (event.kind === 'appended') {
    log.info({ id: event.id }, `${event.type} ${event.reference} is leaf ${event.index}`);
    return;
  }
  const { error } = event;
  if (error instanceof AggregateError) {
    for (const one of error.errors) tellEvent(log, { ...event, error: one });
    return;
  }
  const what = event.kind === 'failed' ? `the ${event.what} failed and is tried again: ` : '';
  if (error instanceof WartaError) log.warn({ code: error.code }, `${what}${error.message}`);
  else log.error({ err: error }, `${what}${describeError(error)}`);
}
