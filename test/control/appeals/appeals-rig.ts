import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { type Actor, ANYONE, type PersonalRole } from '../../../src/control/access/roles.ts';
import { addAppealRoutes } from '../../../src/control/appeals/appeal-routes.ts';
import { addAppealPages } from '../../../src/control/appeals/pages/appeal-pages.ts';
import { createControlApp } from '../../../src/control/http/control-app.ts';
import { addPublicRegisterRoutes } from '../../../src/control/public-register/public-register-routes.ts';
import { addReminderRoutes } from '../../../src/control/reviews/reminder-routes.ts';
import type { ControlServices } from '../../../src/control/services.ts';
import type { AppealRecord, DraftRecord, Store, Tables } from '../../../src/control/store.ts';
import { addTakedownRoutes } from '../../../src/control/takedowns/takedown-routes.ts';
import type { RegisterView } from '../../../src/control/view/register-view.ts';
import type { Pack } from '../../../src/register/pack.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { makeFolder } from '../../support/folders.ts';
import { LogRegister } from '../../support/log-register.ts';
import { openView, viewOptions } from '../view/fixture.ts';

export const DAY = 86_400;
export const HOUR = 3600;

const termDays = { root: 3650, targets: 3650, snapshot: 3650, timestamp: 3650 };

/** Who may send requests, by the word after `Bearer`. */
const PEOPLE: Record<string, { id: string; roles: PersonalRole[]; authority?: string; licensee?: string }> = {
  drafter: { id: 'drafter', roles: ['case-officer'], authority: 'mcmc' },
  clerk: { id: 'clerk', roles: ['case-officer'], authority: 'mcmc' },
  reviewer: { id: 'reviewer', roles: ['appeals-reviewer'], authority: 'mcmc' },
  second: { id: 'second', roles: ['appeals-reviewer'], authority: 'mcmc' },
  'drafter-reviews': { id: 'drafter', roles: ['appeals-reviewer'], authority: 'mcmc' },
  'approver-reviews': { id: 'one', roles: ['approving-officer', 'appeals-reviewer'], authority: 'mcmc' },
  'signer-reviews': { id: 'two', roles: ['approving-officer', 'appeals-reviewer'], authority: 'mcmc' },
  stranger: { id: 'stranger', roles: ['appeals-reviewer', 'case-officer'], authority: 'other' },
  homeless: { id: 'homeless', roles: ['case-officer'] },
  auditor: { id: 'auditor', roles: ['auditor'] },
  admin: { id: 'admin', roles: ['admin'] },
  operator: { id: 'operator', roles: ['operator'], licensee: 'NSP-TEST-1' },
};

export function actorOf(person: string): Actor {
  const { roles, ...rest } = PEOPLE[person]!;
  return { ...rest, roles: new Set(['public', ...roles]) };
}

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
  readonly body: any;
}

/** The appeals side of the control API over a register of its own, at a time that passes only when told to. */
export class AppealsRig {
  readonly clock: FakeClock;
  readonly register: LogRegister;
  readonly view: RegisterView;
  readonly store: Store;
  readonly services: ControlServices;
  readonly app: FastifyInstance;
  /** Events that webhooks would have been told. */
  readonly events: { event: string; data: unknown }[] = [];
  /** Faults of the server. */
  readonly faults: unknown[] = [];
  /** Overlays the policy pack. */
  packChanges: Partial<Pack> = {};
  #requests = 0;

  private constructor(clock: FakeClock, register: LogRegister, view: RegisterView, store: Store) {
    this.clock = clock;
    this.register = register;
    this.view = view;
    this.store = store;
    const { trust } = viewOptions(register, clock);
    let calls = 0;
    this.services = {
      store,
      clock,
      random: (sizeBytes) => createHash('shake256', { outputLength: sizeBytes }).update(`${calls++}`).digest(),
      origin: register.origin,
      register: view,
      trust: {
        read: async (nowSeconds: number) => {
          const current = await trust.read(nowSeconds);
          return { ...current, pack: { ...current.pack, ...this.packChanges } };
        },
      } as ControlServices['trust'],
      publications: { wake: () => {} },
      events: { emit: async (_tables, event, data) => void this.events.push({ event, data }), wake: () => {} },
      log: pino({ level: 'silent' }),
    };
    this.app = createControlApp({
      services: this.services,
      areas: [addAppealRoutes, addAppealPages, addPublicRegisterRoutes, addReminderRoutes, addTakedownRoutes],
      authenticate: async (authorization) => {
        const person = authorization.replace('Bearer ', '');
        return person === 'public' ? ANYONE : actorOf(person);
      },
      onFault: (error) => void this.faults.push(error),
      trustedProxies: 1, // so that a browser can come from more than one address
    });
  }

  static async create(): Promise<AppealsRig> {
    const clock = new FakeClock();
    const folder = makeFolder();
    const register = await LogRegister.create(join(folder, 'log'), { clock, termDays });
    const view = await openView(register, clock);
    return new AppealsRig(clock, register, view, await openStore(join(folder, 'control.db')));
  }

  async close(): Promise<void> {
    await this.app.close();
    await this.store.close();
    await this.register.close();
  }

  get now(): number {
    return this.register.nowSeconds;
  }

  pass(seconds: number): void {
    this.clock.pass(seconds * 1000);
  }

  /** Publishes a notice and returns its id. */
  async notice(names: readonly unknown[], changes: object = {}): Promise<string> {
    const { id } = await this.register.notice(names, changes);
    await this.view.catchUp();
    return id;
  }

  /** Publishes any other statement and returns its id. */
  async publish(type: string, draft: object, signers?: string[]): Promise<string> {
    const { id } = await this.register.publish({ type, ...draft }, signers);
    await this.view.catchUp();
    return id;
  }

  /** Sends `GET /path` and the like; each request from an address of its own unless one is given. */
  async send(
    route: string,
    body?: unknown,
    { as, headers = {}, address }: { as?: string; headers?: Record<string, string>; address?: string } = {},
  ): Promise<Answer> {
    const [method, url] = route.split(' ') as ['GET' | 'POST' | 'HEAD', string];
    const number = this.#requests++;
    const answer = await this.app.inject({
      method,
      url,
      remoteAddress: address ?? `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`,
      headers: {
        ...(as === undefined ? {} : { authorization: `Bearer ${as}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      payload: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    });
    const isJson = /json/.test(String(answer.headers['content-type'])) && answer.body !== '';
    return {
      status: answer.statusCode,
      headers: answer.headers,
      text: answer.body,
      body: isJson ? JSON.parse(answer.body) : undefined,
    };
  }

  /** Files an appeal and returns its reference and secret. */
  async file(notice: string, changes: object = {}): Promise<{ reference: string; secret: string }> {
    const filing = { notice, standing: 'owner', grounds: `Grounds ${this.#requests}`, ...changes };
    const { status, body, text } = await this.send('POST /v1/appeals', filing);
    if (status !== 201) throw new Error(`not filed: ${text}`);
    return body;
  }

  /** Does something with an appeal. */
  act(reference: string, action: string, body: object, as = 'reviewer', headers = {}): Promise<Answer> {
    return this.send(`POST /v1/appeals/${reference}/${action}`, body, { as, headers });
  }

  /** Files an appeal and takes it as far as is said. */
  async bring(
    notice: string,
    to: 'filed' | 'acknowledged' | 'assessed' | 'decided' | 'withdrawn',
    changes: object = {},
  ): Promise<{ reference: string; secret: string }> {
    const filed = await this.file(notice, changes);
    const { reference, secret } = filed;
    const steps: [string, () => Promise<Answer>][] = [
      ['acknowledged', () => this.act(reference, 'acknowledge', {}, 'clerk')],
      ['assessed', () => this.act(reference, 'assess', {})],
      ['decided', () => this.act(reference, 'decide', { outcome: 'upheld', reasons: 'It stands.' })],
    ];
    if (to === 'withdrawn') {
      await this.send(`POST /v1/appeals/${reference}/withdraw`, {}, { headers: { 'appeal-secret': secret } });
      return filed;
    }
    const order = ['filed', 'acknowledged', 'assessed', 'decided'];
    for (const [, step] of steps.slice(0, order.indexOf(to))) {
      const { status, text } = await step();
      if (status !== 200) throw new Error(text);
    }
    return filed;
  }

  read<T>(look: (tables: Tables) => Promise<T>): Promise<T> {
    return this.store.read(look);
  }

  async appeal(reference: string): Promise<AppealRecord> {
    return (await this.read((tables) => tables.appeals.get(reference)))!;
  }

  draftsOf(appealReference: string): Promise<DraftRecord[]> {
    return this.read((tables) => tables.drafts.list({ where: { appealReference }, limit: 100 }));
  }
}
