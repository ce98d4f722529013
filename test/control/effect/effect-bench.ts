import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import type { Actor, Role } from '../../../src/control/access/roles.ts';
import { addEffectRoutes } from '../../../src/control/effect/effect-routes.ts';
import { createControlApp } from '../../../src/control/http/control-app.ts';
import { addNodeRoutes } from '../../../src/control/nodes/node-routes.ts';
import type { ControlServices } from '../../../src/control/services.ts';
import { addStatisticsRoutes } from '../../../src/control/statistics/statistics-routes.ts';
import type { ReceiptRecord, Store } from '../../../src/control/store.ts';
import type { RegisterView } from '../../../src/control/view/register-view.ts';
import { openWebhooks, type Webhooks } from '../../../src/control/webhooks/open-webhooks.ts';
import { addWebhookRoutes } from '../../../src/control/webhooks/webhook-routes.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { createRandom, keys } from '../../register/fixture.ts';
import { makeFolder } from '../../support/folders.ts';
import { LogRegister } from '../../support/log-register.ts';
import { openView, viewOptions } from '../view/fixture.ts';

/** Accounts by the token that stands for them. */
const ACCOUNTS: Record<string, Omit<Actor, 'id'>> = {
  admin: { roles: rolesOf('admin') },
  auditor: { roles: rolesOf('auditor') },
  officer: { roles: rolesOf('approving-officer'), authority: 'mcmc' },
  operator: { roles: rolesOf('operator'), licensee: 'A' },
  'operator-b': { roles: rolesOf('operator'), licensee: 'B' },
};

function rolesOf(...roles: Role[]): ReadonlySet<Role> {
  return new Set([...roles, 'public' as const]);
}

/** An answer with its body parsed. */
export interface Answer {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
  readonly body: any;
}

/** The routes of this area over a register and a store, without anything else of the control API. */
export class EffectBench {
  readonly clock: FakeClock;
  readonly register: LogRegister;
  readonly store: Store;
  readonly view: RegisterView;
  readonly webhooks: Webhooks;
  readonly services: ControlServices;
  readonly app: FastifyInstance;

  private constructor(clock: FakeClock, register: LogRegister, store: Store, view: RegisterView) {
    this.clock = clock;
    this.register = register;
    this.store = store;
    this.view = view;
    const random = createRandom();
    const { trust } = viewOptions(register, clock);
    this.webhooks = openWebhooks({ store, clock, random, key: keys.one, terms: { allowPrivateAddresses: true } });
    this.services = {
      ...{ store, clock, random, origin: register.origin, register: view, trust },
      ...{ events: this.webhooks.events, webhooks: this.webhooks.terms, publications: { wake: () => {} } },
      log: pino({ level: 'silent' }),
    };
    this.app = createControlApp({
      services: this.services,
      authenticate: async (authorization) => {
        const id = authorization.replace('Bearer ', '');
        return { id, ...ACCOUNTS[id]! };
      },
      areas: [addNodeRoutes, addEffectRoutes, addStatisticsRoutes, addWebhookRoutes],
    });
  }

  static async create(wallSeconds?: number): Promise<EffectBench> {
    const clock = new FakeClock(wallSeconds);
    const termDays = { root: 3650, targets: 3650, snapshot: 3650, timestamp: 3650 };
    const register = await LogRegister.create(makeFolder(), { clock, termDays });
    const store = await openStore(`sqlite:${join(makeFolder(), 'control.db')}`);
    return new EffectBench(clock, register, store, await openView(register, clock));
  }

  get now(): number {
    return Math.floor(this.clock.wall / 1000);
  }

  pass(seconds: number): void {
    this.clock.pass(seconds * 1000);
  }

  async send(
    user: string | undefined,
    method: 'GET' | 'POST' | 'DELETE',
    url: string,
    body?: object,
    headers = {},
  ): Promise<Answer> {
    const authorization = user === undefined ? {} : { authorization: `Bearer ${user}` };
    const payload = body === undefined ? {} : { payload: body };
    const answer = await this.app.inject({ method, url, headers: { ...authorization, ...headers }, ...payload });
    const isJson = /json/.test(String(answer.headers['content-type']));
    const parsed = isJson && answer.body !== '' ? JSON.parse(answer.body) : answer.body;
    return { status: answer.statusCode, headers: answer.headers, body: parsed };
  }

  /** Brings the view up to date and asks. */
  async get(user: string | undefined, url: string, headers = {}): Promise<Answer> {
    await this.view.catchUp();
    return this.send(user, 'GET', url, undefined, headers);
  }

  /** Adds an ISP with nodes that were enrolled now. */
  async addLicensee(number: string, ...nodes: string[]): Promise<void> {
    await this.store.transaction(async (tables) => {
      const record = { id: number, name: `ISP ${number}`, classes: [], createdSeconds: this.now, version: 1 };
      if ((await tables.licensees.get(number)) === undefined) await tables.licensees.insert(record);
      for (const node of nodes) {
        await tables.nodes.insert({
          ...{ id: `${number}/${node}`, licensee: number, node, publicKey: `${number}${node}`, enrolledBy: 'admin' },
          ...{ enrolledSeconds: this.now, revokedSeconds: null, version: 1 },
        });
      }
    });
  }

  /** Writes the row of a receipt of `licensee/node`, applied now, of all that the log has. */
  async receive(nodeId: string, changes: Partial<ReceiptRecord> = {}): Promise<void> {
    const treeSize = this.register.size;
    const row: ReceiptRecord = {
      ...{ id: `receipts/${nodeId}/${this.now}-${changes.treeSize ?? treeSize}.json`, nodeId, treeSize },
      ...{ licensee: nodeId.slice(0, nodeId.indexOf('/')), rules: 1, rulesDigest: 'ab'.repeat(32), mode: 'enforce' },
      ...{ appliedSeconds: this.now, receivedSeconds: this.now, foldedSeconds: this.now },
      ...{ rejected: [], refusedEntries: 0, agrees: null, pages: null },
      ...changes,
    };
    await this.store.transaction((tables) => tables.receipts.insert(row));
  }

  async close(): Promise<void> {
    await this.webhooks.runner.stop();
    await this.app.close();
    await this.store.close();
    await this.register.close();
  }
}
