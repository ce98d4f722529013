import type { RuleClock } from '../base/clock.ts';
import type { SharedCounters } from '../metrics/shared-counters.ts';
import type { RuleTable } from '../rules/rule-table.ts';
import { ClientAcl } from './client-acl.ts';
import { LocalZone, type ResolverInformation } from './local-zone.ts';
import { QueryStages } from './query-stages.ts';
import { ResponseRateLimit } from './response-rate-limit.ts';
import { ServerCookie } from './server-cookie.ts';
import { Steering, type SteeringSettings } from './steering.ts';

/** The stages' settings as plain data, so that they can be sent to a thread. */
export interface StageSettings {
  allow: readonly string[];
  /** UDP responses a second for one client prefix; 0 is no limit. */
  responsesPerSecond: number;
  /** Random word that keys the rate limit's buckets. */
  rateLimitKey: number;
  /** 16 octets; servers of one anycast address share it. */
  cookieSecret: Uint8Array;
  observe: boolean;
  checkTargets: boolean;
  maxTtlSeconds: number;
  structuredOption: number;
  /** The gateways that hosts with listed pages are steered to, if there are any. */
  steering?: SteeringSettings;
  /** What the resolver says about itself when it is asked. */
  information?: ResolverInformation;
}

/** Makes the stages of one thread. */
export function createStages(
  settings: StageSettings,
  own: { counters: SharedCounters; clock: RuleClock },
  table: RuleTable,
): QueryStages {
  return new QueryStages(
    {
      acl: new ClientAcl(settings.allow),
      rateLimit: new ResponseRateLimit(settings.responsesPerSecond, settings.rateLimitKey),
      cookie: new ServerCookie(settings.cookieSecret),
      observe: settings.observe,
      checkTargets: settings.checkTargets,
      maxTtlSeconds: settings.maxTtlSeconds,
      structuredOption: settings.structuredOption,
      steering: new Steering(settings.steering),
      localZone: new LocalZone(settings.information),
      ...own,
    },
    table,
  );
}
