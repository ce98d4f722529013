import { sign } from 'node:crypto';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { loadConfig } from '../config/config.ts';
import { composePreAuthentication, PAYLOAD_TYPE } from '../register/envelope.ts';
import { parseSocketAddress, type SocketAddress } from '../resolver/socket-address.ts';
import { type ApiAnswer, type ApiRequest, askApi, callApi } from './api-client.ts';
import { type DemoPerson, readToken } from './demo-accounts.ts';
import { DemoPlaces } from './demo-log.ts';
import { type DemoOfficer, DemoOfficers } from './demo-register.ts';
import { askServer } from './dns-client.ts';
import { extendedErrors } from './query-command.ts';

const DNS_PORT = 53;
const TYPE_A = 1;
/** How long to wait for the register, and then for the resolver. */
const WAIT_MILLIS = 60_000;
const LOOK_MILLIS = 250;

interface WalkOptions {
  var: string;
  yes?: boolean;
}

/** Adds `warta walk`: what a notice goes through, on the running demo. */
export function registerWalkCommand(program: Command): void {
  program
    .command('walk')
    .description('walk through a notice on the running demo: draft, approval, signatures, block, appeal, release')
    .option('--var <folder>', "the demo's folder", 'var')
    .option('-y, --yes', 'do not wait for Enter between the steps')
    .action(walk);
}

async function walk({ var: folder, yes = false }: WalkOptions): Promise<void> {
  const tour = new Tour(resolve(folder), !yes && process.stdin.isTTY === true);
  await tour.run();
}

/** A notice of one's own, so that a second walk does not meet the first one's. */
function composeNotice(reference: string) {
  return {
    reference,
    instrument: 'cma-263',
    category: 'online-scams',
    offence: 'Soliciting deposits for a fictitious investment fund',
    reasons: { public: 'Three sites of one fraud that takes deposits for a fund that does not exist.' },
    recipients: { all: true },
    territory: 'Malaysia',
    dates: { made: 'now', effectiveFrom: 'now' },
    term: { expires: '30d' },
    proportionality: {
      alternatives: 'Takedown at the host was asked for and not answered.',
      sourceTakedown: { asked: true, detail: 'Host asked; no answer within the time given.' },
      ownerWarned: { warned: false, detail: 'The owner is unknown.' },
      coTenants: 'None found on these names.',
      balance: 'Nothing lawful was found there; the loss to victims continues.',
    },
    redress: {
      body: 'Appeals desk',
      contacts: ['mailto:appeals@regulator.example'],
      address: 'Cyberjaya',
      withinDays: 30,
    },
    languages: ['ms', 'en'],
  };
}

/** One walk through the demo. Each step says what it does, does it, and shows what came of it. */
class Tour {
  readonly #places: DemoPlaces;
  readonly #officers: DemoOfficers;
  readonly #waits: boolean;
  readonly #base: string;
  readonly #server: SocketAddress;
  #step = 0;

  constructor(folder: string, waits: boolean) {
    this.#places = new DemoPlaces(folder);
    const config = loadConfig(join(folder, 'warta.yaml'));
    this.#base = config.register.mirrors![0]!;
    this.#server = parseSocketAddress(config.resolver.listen[0]!, DNS_PORT);
    this.#officers = new DemoOfficers(this.#places.keys);
    this.#waits = waits;
  }

  async run(): Promise<void> {
    const word = Date.now().toString(36);
    const name = `fund-${word}.example`;
    const notice = await this.#draft(`WALK/${word}`, name);
    await this.#approve(notice);
    const statementId = await this.#signAndPublish('notices', notice, ['officer-one', 'officer-two']);
    await this.#requireAnswer(name, true);
    await this.#appeal(statementId, name);
    console.log(`\n${paint('bold', 'That was the whole life of a block.')} The public register keeps all of it:`);
    console.log(`  ${this.#base}v1/register/notices/${statementId}`);
  }

  /** The case officer drafts, and the pre-flight stops what should not be blocked. */
  async #draft(reference: string, name: string): Promise<string> {
    await this.#say('A case officer drafts a notice');
    const draft = await this.#call('case-officer', 'POST', '/v1/notices', composeNotice(reference));
    const { id } = draft.body;
    this.#show(`draft ${id}, ${reference}`);
    await this.#say('The list of names has two that must never be blocked: pre-flight refuses them');
    const upload = (names: string[], etag: string) =>
      this.#call('case-officer', 'PUT', `/v1/notices/${id}/entries`, names.join('\n'), etag, 'text/plain');
    const first = await upload([name, `www.${name}`, 'cdn.jsdelivr.net', 'com.my'], draft.etag!);
    const report = await this.#call('case-officer', 'POST', `/v1/notices/${id}/preflight`);
    for (const { level, message } of report.body.findings) this.#show(`${level}: ${message}`);
    await this.#say('She corrects the list and proposes the notice');
    const current = await this.#call('case-officer', 'GET', `/v1/notices/${id}`);
    await upload([name, `www.${name}`], current.etag ?? first.etag!);
    await this.#call('case-officer', 'POST', `/v1/notices/${id}/propose`);
    return id;
  }

  /** Nobody approves their own draft. */
  async #approve(id: string): Promise<void> {
    await this.#say('She may not approve it herself; another officer does');
    const refused = await this.#ask('case-officer', 'POST', `/v1/notices/${id}/approve`);
    this.#show(`case-officer: ${refused.status} ${refused.body.code}: ${refused.body.detail}`);
    const { etag } = await this.#call('officer-one', 'GET', `/v1/notices/${id}`);
    const { body } = await this.#call('officer-one', 'POST', `/v1/notices/${id}/approve`, undefined, etag);
    this.#show(`officer-one: ${body.state}`);
  }

  /** The server prepares the bytes; keys sign elsewhere; the log takes the statement. Returns its id. */
  async #signAndPublish(collection: string, id: string, signers: readonly DemoOfficer[]): Promise<string> {
    const path = `/v1/${collection}/${id}`;
    const who =
      signers.length === 1
        ? `The ${signers[0]} signs the bytes with a key`
        : `${signers.join(' and ')} sign the same bytes with keys`;
    await this.#say(`${who} that the server never sees`);
    const { body: payload } = await this.#call(signers[0]!, 'GET', `${path}/payload`);
    const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
    const signed = composePreAuthentication(PAYLOAD_TYPE, Buffer.from(text));
    for (const officer of signers) {
      const { privateKey } = this.#officers.signerOf(officer);
      const sig = sign(null, signed, privateKey).toString('base64');
      const { body } = await this.#call(officer, 'POST', `${path}/signatures`, { keyid: officer, sig });
      this.#show(`${officer}: ${body.signaturesMissing} more needed`);
    }
    await this.#say('The statement goes into the log, where witnesses see it');
    await this.#call(signers[0]!, 'POST', `${path}/publish`);
    const published = await this.#until('the statement is in the register', async () => {
      const { body } = await this.#call('officer-one', 'GET', path);
      if (body.state === 'refused') throw new WartaError(body.refusal.code, body.refusal.message);
      return body.state === 'published' ? body : undefined;
    });
    this.#show(`leaf ${published.leafIndex} of the log at ${published.integratedAt}`);
    return published.statementId;
  }

  /** The owner appeals, a reviewer who took no part overturns, and the name resolves again. */
  async #appeal(statementId: string, name: string): Promise<void> {
    await this.#say('The owner of the site appeals, without an account');
    const filing = {
      notice: statementId,
      standing: 'owner',
      grounds: 'The site was sold a month ago and is a shop now.',
    };
    const { body: filed } = await this.#call(undefined, 'POST', '/v1/appeals', filing);
    const appeal = `/v1/appeals/${filed.reference}`;
    this.#show(`appeal ${filed.reference}, to be decided by ${filed.decideBy}`);
    await this.#say('A reviewer who took no part hears it and overturns the notice');
    for (const act of ['acknowledge', 'assess']) await this.#call('reviewer', 'POST', `${appeal}/${act}`, {});
    const decision = { outcome: 'overturned', reasons: 'The site has a new owner and is lawful now.' };
    const { body: decided } = await this.#call('reviewer', 'POST', `${appeal}/decide`, decision);
    this.#show(`decided: ${decided.outcome}; a revocation is drafted for her to sign`);
    const { body: chain } = await this.#call('reviewer', 'GET', appeal);
    const { draft } = chain.statements.find((one: { type: string }) => one.type === 'revocation');
    await this.#call('reviewer', 'POST', `/v1/revocations/${draft.id}/propose`);
    await this.#signAndPublish('revocations', draft.id, ['reviewer']);
    await this.#requireAnswer(name, false);
  }

  /** Waits until the resolver answers as it must. */
  async #requireAnswer(name: string, blocked: boolean): Promise<void> {
    const { host, port } = this.#server;
    await this.#say(`dig @${host} -p ${port} ${name}`);
    const began = performance.now();
    const text = await this.#until(`${name} is ${blocked ? 'blocked' : 'released'}`, async () => {
      const reason = await this.#findReason(name);
      if (reason === undefined || reason.includes('WALK/') !== blocked) return undefined;
      return blocked ? `the answer names ${reason}` : 'the answer names no notice';
    });
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    this.#show(
      `${paint(blocked ? 'red' : 'green', blocked ? 'blocked' : 'no longer blocked')}: ${text}, ${seconds} s later`,
    );
  }

  /** The text of an answer's extended error, empty without one; `undefined` when there was no answer. */
  async #findReason(name: string): Promise<string | undefined> {
    const question = { name, type: TYPE_A, edns: true, dnssec: false };
    try {
      const { packet } = await askServer(this.#server, question, { tcp: false, timeoutMillis: 5000 });
      return extendedErrors(packet)
        .map((one) => one.text)
        .join(', ');
    } catch (error) {
      if (error instanceof WartaError && error.code === 'query-failed') return undefined;
      throw error;
    }
  }

  async #until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
    const deadline = performance.now() + WAIT_MILLIS;
    for (;;) {
      const seen = await look();
      if (seen !== undefined) return seen;
      if (performance.now() > deadline) throw new WartaError('query-failed', `waited a minute in vain: ${what}`);
      await sleep(LOOK_MILLIS);
    }
  }

  /** Announces a step, after Enter where someone sits at the terminal. */
  async #say(what: string): Promise<void> {
    this.#step++;
    if (this.#waits && this.#step > 1) {
      const reader = createInterface({ input: process.stdin, output: process.stdout });
      await reader.question(paint('dim', '  (Enter) '));
      reader.close();
    }
    console.log(`\n${paint('bold', `${this.#step}. ${what}`)}`);
  }

  #show(what: string): void {
    console.log(`   ${what}`);
  }

  #ask(who: DemoPerson | undefined, method: ApiRequest['method'], path: string): Promise<ApiAnswer> {
    return askApi(this.#base, { method, path, token: this.#tokenOf(who) });
  }

  async #call(
    who: DemoPerson | undefined,
    method: ApiRequest['method'],
    path: string,
    body?: unknown,
    etag?: string,
    type?: string,
  ): Promise<ApiAnswer> {
    if (method !== 'GET') this.#show(paint('cyan', `${who ?? 'anyone'}: ${method} ${path}`));
    const headers: Record<string, string> = etag === undefined ? {} : { 'if-match': etag };
    return callApi(this.#base, { method, path, token: this.#tokenOf(who), body, type, headers });
  }

  #tokenOf(who: DemoPerson | undefined): string | undefined {
    return who && readToken(this.#places.tokens, who);
  }
}
