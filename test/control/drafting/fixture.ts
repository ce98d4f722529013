import { PAYLOAD_TYPE, signEnvelope } from '../../../src/register/envelope.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { ControlDesk, type DeskAnswer, type DeskOptions } from '../../support/control-desk.ts';
import { COMPLETE_NOTICE } from '../../support/control-files.ts';
import { signerOf } from '../../support/log-register.ts';

/** When the desks of these tests begin: 2026-03-01T09:00:00Z. */
export const NOW = Date.UTC(2026, 2, 1, 9) / 1000;

/** A draft of a notice with everything that it needs but names. */
export const COMPLETE = { ...COMPLETE_NOTICE, dates: { effectiveFrom: 'now' } };

/** A desk on a clock that stands still. */
export function openDesk(options: DeskOptions = {}): Promise<ControlDesk> {
  return ControlDesk.create({ clock: new FakeClock(NOW), ...options });
}

let references = 0;

/** A reference that no other draft has. */
export function nextReference(): string {
  references++;
  return `TEST/${references}`;
}

/** Steps of a draft as requests; each takes the answer's version for granted. */
export class Drafting {
  readonly desk: ControlDesk;

  constructor(desk: ControlDesk) {
    this.desk = desk;
  }

  /** Opens a draft and returns it. */
  async open(collection: string, fields: object, user = 'drafter') {
    const answer = await this.desk.send(user, 'POST', `/v1/${collection}`, { reference: nextReference(), ...fields });
    if (answer.status !== 201) throw new Error(JSON.stringify(answer.body));
    return answer.body;
  }

  /** Uploads names to a draft in its version. */
  upload(draft: { id: string; version: number }, names: string, type = 'text/plain', user = 'drafter') {
    const headers = { 'content-type': type, 'if-match': `"${draft.version}"` };
    return this.desk.send(user, 'PUT', `/v1/notices/${draft.id}/entries`, names, headers);
  }

  /** Opens a complete notice with these names. */
  async notice(names = 'scam-bank.example', fields: object = {}) {
    const draft = await this.open('notices', { ...COMPLETE, ...fields });
    const { status, body } = await this.upload(draft, names);
    if (status !== 200) throw new Error(JSON.stringify(body));
    return (await this.read('notices', draft.id)).body;
  }

  /** Opens a stay of a programme, which needs nothing in the register. */
  stay(user = 'drafter', fields: object = {}) {
    return this.open('stays', { ...STAY, ...fields }, user);
  }

  read(collection: string, id: string, user = 'drafter'): Promise<DeskAnswer> {
    return this.desk.send(user, 'GET', `/v1/${collection}/${id}`);
  }

  /** Does a step; who approves says which version she has read. */
  async step(user: string, collection: string, id: string, step: string, body?: object): Promise<DeskAnswer> {
    const { etag } = step === 'approve' ? (await this.read(collection, id)).headers : {};
    return this.desk.send(
      user,
      'POST',
      `/v1/${collection}/${id}/${step}`,
      body,
      etag ? { 'if-match': String(etag) } : {},
    );
  }

  /** The bytes to sign. */
  async payload(collection: string, id: string): Promise<Buffer> {
    const answer = await this.desk.site.app.inject({
      method: 'GET',
      url: `/v1/${collection}/${id}/payload`,
      headers: { authorization: `Bearer ${this.desk.tokenOf('drafter')}` },
    });
    if (answer.statusCode !== 200 || answer.headers['content-type'] !== PAYLOAD_TYPE) throw new Error(answer.body);
    return answer.rawPayload;
  }

  /** Signs a draft offline with an officer's key and attaches the signature. */
  async sign(collection: string, id: string, officer: string, payload?: Buffer, user = 'one') {
    const signed = signEnvelope(payload ?? (await this.payload(collection, id)), [signerOf(officer)]);
    const { signatures } = JSON.parse(signed.toString());
    return this.step(user, collection, id, 'signatures', signatures[0]);
  }

  /** Takes a draft to the state in which it is signed. */
  async approve(collection: string, id: string, approvers = ['one']) {
    await this.expectOk(this.step('drafter', collection, id, 'propose'));
    for (const user of approvers) await this.expectOk(this.step(user, collection, id, 'approve'));
  }

  /** Takes a complete draft to the queue. */
  async publish(collection: string, id: string, officers = ['one', 'two']) {
    await this.approve(collection, id);
    for (const officer of officers) await this.expectOk(this.sign(collection, id, officer));
    return this.expectOk(this.step('one', collection, id, 'publish'));
  }

  /** Waits until a draft has left the queue, and is in the register if it was not refused. */
  async settle(collection: string, id: string) {
    for (let tries = 0; tries < 200; tries++) {
      const { body } = await this.read(collection, id);
      await this.desk.catchUp();
      const isThere = this.desk.site.services.register.find(body.statementId) !== undefined;
      if (body.state === 'refused' || (body.state === 'published' && isThere)) return body;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error('it stays in the queue');
  }

  async expectOk(answer: Promise<DeskAnswer>) {
    const { status, body } = await answer;
    if (status >= 300) throw new Error(`${status} ${JSON.stringify(body)}`);
    return body;
  }
}

/** A stay of a programme. */
export const STAY = {
  reasons: { public: 'By order of the court.' },
  target: { instrument: 'cma-211a' },
  from: 'now',
  order: { by: 'High Court', reference: 'WA-1' },
};
