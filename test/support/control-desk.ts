import { join } from 'node:path';
import type { LightMyRequestResponse } from 'fastify';
import { pino } from 'pino';
import type { ControlConfig } from '../../src/control/control-config.ts';
import { ControlSite } from '../../src/control/control-site.ts';
import type { Store } from '../../src/control/store.ts';
import { openStore } from '../../src/store/open-store.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { addAccounts, type TestAccount } from './control-files.ts';
import { makeFolder } from './folders.ts';
import { addOfficers, LogRegister, type LogRegisterOptions } from './log-register.ts';

/** Accounts of a desk, by id: officers with the ids that test-authority's authorities.json gives, and everyone else. */
export const DESK_USERS: Readonly<Record<string, TestAccount>> = {
  drafter: { roles: ['case-officer'], authority: 'mcmc' },
  one: { roles: ['approving-officer'], authority: 'mcmc' },
  two: { roles: ['approving-officer'], authority: 'mcmc' },
  three: { roles: ['approving-officer'], authority: 'mcmc' },
  reviewer: { roles: ['appeals-reviewer'], authority: 'mcmc' },
  auditor: { roles: ['auditor'] },
  admin: { roles: ['admin'] },
  operator: { roles: ['operator'], licensee: 'NSP-1' },
};

/** An answer with its body parsed. */
export interface DeskAnswer {
  readonly status: number;
  readonly headers: LightMyRequestResponse['headers'];
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
  readonly body: any;
}

/** What a desk is made with. */
export interface DeskOptions extends LogRegisterOptions {
  /** Database; an SQLite file of its own by default. */
  readonly database?: string;
  readonly config?: Partial<ControlConfig>;
}

/** The control API over a register of its own, in this process, with accounts for every role. Close it when the test is done. */
export class ControlDesk {
  readonly register: LogRegister;
  readonly store: Store;
  readonly site: ControlSite;
  readonly clock: FakeClock | undefined;
  readonly #tokens: Readonly<Record<string, string>>;
  readonly #config: ControlConfig;
  readonly #peers: { close(): Promise<void> }[] = [];

  private constructor(
    register: LogRegister,
    store: Store,
    site: ControlSite,
    tokens: Readonly<Record<string, string>>,
    config: ControlConfig,
    clock?: FakeClock,
  ) {
    this.#config = config;
    this.register = register;
    this.store = store;
    this.site = site;
    this.clock = clock;
    this.#tokens = tokens;
  }

  /** Makes a register with nothing in it and the control API on top; the sequencer is the API's. */
  static async create(options: DeskOptions = {}): Promise<ControlDesk> {
    const folder = makeFolder();
    const register = await LogRegister.create(join(folder, 'log'), options);
    addOfficers(register);
    await register.site.close(); // the control API takes the log
    const store = await openStore(options.database ?? `sqlite:${join(folder, 'control.db')}`);
    const clock = options.clock instanceof FakeClock ? options.clock : undefined;
    const tokens = await addAccounts(store, DESK_USERS, register.nowSeconds * 1000);
    const config = composeConfig(register, folder, options);
    const site = await ControlSite.open(config, {
      store,
      log: pino({ level: 'silent' }),
      clock: options.clock,
      witnesses: register.witnesses,
    });
    await site.start();
    return new ControlDesk(register, store, site, tokens, config, clock);
  }

  /** The token of an account. */
  tokenOf(user: string): string {
    return this.#tokens[user]!;
  }

  /** Sends a request as an account, or as anyone. `body` goes as JSON unless it is text or bytes. */
  async send(
    user: string | undefined,
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    url: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<DeskAnswer> {
    const token = user === undefined ? {} : { authorization: `Bearer ${this.tokenOf(user)}` };
    const isRaw = typeof body === 'string' || body instanceof Uint8Array;
    const answer = await this.site.app.inject({
      method,
      url,
      headers: { ...token, ...(body !== undefined && !isRaw && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { payload: isRaw ? Buffer.from(body as string) : JSON.stringify(body) }),
    });
    return { status: answer.statusCode, headers: answer.headers, body: parseBody(answer) };
  }

  /** Waits until the register's view has so many leaves. */
  async catchUp(): Promise<void> {
    await this.site.services.register.catchUp();
  }

  /** Opens another process's worth of the API on the same database and register, which only PostgreSQL allows. */
  async openPeer(): Promise<ControlSite> {
    const store = await openStore(this.#config.database);
    const log = pino({ level: 'silent' });
    const site = await ControlSite.open(this.#config, { store, log, witnesses: this.register.witnesses });
    await site.start();
    this.#peers.push({
      close: async () => {
        await site.close();
        await store.close();
      },
    });
    return site;
  }

  async close(): Promise<void> {
    for (const peer of this.#peers) await peer.close();
    await this.site.close();
    await this.store.close();
    await Promise.all(this.register.witnesses.map((one) => one.close()));
  }
}

function parseBody(answer: LightMyRequestResponse): unknown {
  const type = String(answer.headers['content-type'] ?? '');
  return /json/.test(type) && answer.body !== '' ? JSON.parse(answer.body) : answer.body;
}

function composeConfig(register: LogRegister, folder: string, { database, config }: DeskOptions): ControlConfig {
  return {
    log: register.config,
    database: database ?? join(folder, 'control.db'),
    listen: '127.0.0.1:0',
    sequencer: true,
    trustedProxies: 0,
    webhooks: { key: join(folder, 'webhook.key'), allowPrivateAddresses: true },
    ...config,
  };
}
