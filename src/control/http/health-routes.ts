import { z } from 'zod';
import { WartaError } from '../../base/errors.ts';
import { digest, instant } from '../../register/fields.ts';
import { formatInstant } from '../../register/time.ts';
import type { ControlServices } from '../services.ts';
import type { AddRoute } from './route.ts';

const check = z.object({
  name: z.enum(['store', 'register', 'trust']),
  state: z.enum(['good', 'degraded', 'failed']),
  /** What is the matter, in plain words. */
  reason: z.string().optional(),
});

type Check = z.output<typeof check>;

const readiness = z.object({
  status: z.enum(['ready', 'degraded', 'not-ready']),
  checks: z.array(check),
  register: z.object({ size: z.int(), newestAt: instant.optional() }),
});

const titles = z.record(z.string(), z.string());
const kind = z.object({ id: z.string(), title: titles });

/** The parts of a policy pack that whoever drafts, appeals or reads a block page needs. */
const packParts = z.object({
  id: z.string(),
  version: z.int(),
  sha256: digest,
  title: z.string(),
  note: z.string(),
  categories: z.array(kind),
  tags: z.array(kind),
  instruments: z.array(
    z.object({
      id: z.string(),
      act: z.string(),
      section: z.string(),
      title: z.string(),
      term: z.object({ maxDays: z.int(), untilRevoked: z.object({ maxReviewDays: z.int() }).optional() }),
      categories: z.array(z.string()),
    }),
  ),
  thresholds: z.object({ notice: z.int(), release: z.int() }),
  appeals: z.object({
    fileWithinDays: z.int(),
    acknowledgeWithinDays: z.int(),
    assessWithinDays: z.int().optional(),
    decideWithinDays: z.int(),
    releaseWithinHours: z.int(),
    eraseContactAfterDays: z.int().optional(),
    formUrl: z.string().optional(),
  }),
  reviews: z.object({ stayOverdue: z.boolean() }).optional(),
  help: z.record(z.string(), z.array(z.object({ title: z.string(), url: z.string() }))),
});

const TAG = 'Service';

/** What does not answer by then counts as failed. */
const ANSWER_MILLIS = 3_000;

/** A register that publishes an hourly heartbeat and got no new leaf for this long has no sequencer. */
const STALE_SECONDS = 3 * 3600;

/** Adds the routes that say how this process stands and what law it serves. They work with the store gone. */
export function addHealthRoutes(add: AddRoute, services: ControlServices): void {
  const { register, trust } = services;

  add({
    route: 'GET /healthz',
    summary: 'Say that the process is alive',
    tag: TAG,
    storeless: true,
    response: z.object({ status: z.literal('alive') }),
    handle: async () => ({ body: { status: 'alive' as const } }),
  });

  /*
   * A lapsed trust or a stale register is the same in every process, and taking all of them out of service would stop the
   * releases that are still possible: it is told, with 200. Only what another process may do better is 503.
   */
  add({
    route: 'GET /readyz',
    summary: 'Say whether this process can serve, and what is the matter with it',
    tag: TAG,
    storeless: true,
    response: readiness,
    async handle({ nowSeconds }) {
      const checks = await Promise.all([
        judge('store', () => services.store.read(({ users }) => users.count()).then(() => undefined)),
        judge('register', () => checkRegister(services, nowSeconds)),
        judge('trust', () => checkTrust(services, nowSeconds)),
      ]);
      const isFailed = checks.some(({ state }) => state === 'failed');
      const isDegraded = checks.some(({ state }) => state === 'degraded');
      const status: z.output<typeof readiness>['status'] = isFailed ? 'not-ready' : isDegraded ? 'degraded' : 'ready';
      const { size, newestSeconds } = register;
      return {
        status: isFailed ? 503 : 200,
        body: {
          status,
          checks,
          register: { size, ...(newestSeconds > 0 && { newestAt: formatInstant(newestSeconds) }) },
        },
      };
    },
  });

  add({
    route: 'GET /v1/pack',
    summary: 'Show the policy pack: categories, instruments, clocks of appeals, help',
    tag: TAG,
    storeless: true,
    response: packParts,
    async handle({ nowSeconds }) {
      const { pack } = await trust.read(nowSeconds);
      return {
        body: { ...pack, sha256: register.packSha256 },
        headers: { 'cache-control': 'public, max-age=300' },
      };
    },
  });
}

/** Runs a check. A fault is told by its code alone: messages may name hosts and paths. */
async function judge(name: Check['name'], find: () => Promise<string | undefined>): Promise<Check> {
  try {
    const reason = await within(ANSWER_MILLIS, find());
    return reason === undefined ? { name, state: 'good' } : { name, state: 'degraded', reason };
  } catch (error) {
    return { name, state: 'failed', reason: error instanceof WartaError ? error.code : 'fault' };
  }
}

async function within<T>(millis: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new WartaError('response-slow', 'no answer in time')), millis);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Reads what is new in the register; says what is the matter when nothing was for too long. */
async function checkRegister({ register }: ControlServices, nowSeconds: number): Promise<string | undefined> {
  await register.catchUp();
  if (register.size === 0) return 'nothing is published yet';
  const ageSeconds = nowSeconds - register.newestSeconds;
  return ageSeconds > STALE_SECONDS
    ? `nothing was published for ${ageSeconds} seconds: see to the sequencer`
    : undefined;
}

async function checkTrust({ trust }: ControlServices, nowSeconds: number): Promise<string | undefined> {
  const { expired } = await trust.read(nowSeconds);
  return expired ? 'the TUF metadata has lapsed: only releases are taken' : undefined;
}
