import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PAYLOAD_TYPE, signEnvelope } from '../../../src/register/envelope.ts';
import { publicKeyOf } from '../../../src/register/key.ts';
import { formatInstant } from '../../../src/register/time.ts';
import type { ControlDesk, DeskAnswer } from '../../support/control-desk.ts';
import { officerKey, signerOf } from '../../support/log-register.ts';
import { Drafting, openDesk } from './fixture.ts';

const DAY = 86_400;

let desk: ControlDesk;
let drafting: Drafting;
/** An approved notice, and the bytes to sign. */
let id: string;
let payload: Buffer;

beforeAll(async () => {
  desk = await openDesk();
  drafting = new Drafting(desk);
  const now = desk.register.nowSeconds;
  desk.register.changeAuthorities((file) => {
    const { officers } = file.authorities[0]!;
    const add = (name: string, changes: object) =>
      officers.push({ ...officers[0]!, id: name, publicKey: publicKeyOf(officerKey(name)), ...changes });
    add('expired', { validUntil: formatInstant(now - DAY) });
    add('future', { validFrom: formatInstant(now + DAY) });
    add('revoked', { revokedAt: formatInstant(now - DAY) });
    add('narrow', { may: ['heartbeat'] });
    add('twin', { publicKey: publicKeyOf(officerKey('one')) });
    // An officer who may draft as well as sign.
    officers.find((officer) => officer.id === 'drafter')!.role = 'approving-officer';
    file.authorities.push({
      ...file.authorities[0]!,
      id: 'other',
      officers: [{ ...officers[0]!, id: 'stranger', publicKey: publicKeyOf(officerKey('stranger')) }],
    });
  });
});
afterAll(() => desk?.close());

beforeEach(async () => {
  ({ id } = await drafting.notice());
  await drafting.approve('notices', id);
  payload = await drafting.payload('notices', id);
});

const said = ({ status, body }: DeskAnswer) => (status < 300 ? 'taken' : `${status} ${body.code}`);

/** Attaches an officer's signature over some bytes. */
const attach = (officer: string, over = payload) => drafting.sign('notices', id, officer, over);
const envelopeBy = (officers: string[], over = payload, earlier?: Buffer) =>
  JSON.parse(signEnvelope(over, officers.map(signerOf), earlier).toString());
const attachEnvelope = (envelope: object) => drafting.step('one', 'notices', id, 'signatures', envelope);

describe('a signature', () => {
  it('counts when an officer who may sign made it over these bytes', async () => {
    const first = await attach('one');
    expect(first.body).toMatchObject({ signaturesNeeded: 2, signaturesMissing: 1, state: 'approved' });
    const second = await attach('two');
    expect(second.body).toMatchObject({ signaturesMissing: 0 });
    expect(second.body.signatures).toEqual([
      { keyid: 'one', officer: 'one', publicKey: publicKeyOf(officerKey('one')) },
      { keyid: 'two', officer: 'two', publicKey: publicKeyOf(officerKey('two')) },
    ]);
  });

  it.each([
    ['expired', 'has expired'],
    ['revoked', 'is revoked'],
    ['future', 'not valid yet'],
    ['narrow', 'may not sign a notice'],
    ['reviewer', 'may not sign a notice'],
    ['drafter', 'who drafted it'],
    ['stranger', 'of other, not of mcmc'],
  ])('by %s does not count: %s', async (officer, why) => {
    const answer = await attach(officer);
    expect([said(answer), answer.body.detail]).toEqual(['403 signer-ineligible', expect.stringContaining(why)]);
    expect((await drafting.read('notices', id)).body.signatures).toEqual([]);
  });

  it('by a key that nobody has is invalid', async () => {
    expect(said(await attach('nobody'))).toBe('422 signature-invalid');
  });

  it('over other bytes is invalid', async () => {
    const other = Buffer.from(payload.toString().replace('scam-bank', 'scam-bonk').replace('"2026-', '"2025-'));
    expect(other.equals(payload)).toBe(false);
    expect(said(await attach('one', other))).toBe('422 signature-invalid');
    expect(said(await attachEnvelope(envelopeBy(['one'], other)))).toBe('422 signature-invalid');
  });

  it('of another draft is invalid here', async () => {
    const { id: another } = await drafting.notice();
    await drafting.approve('notices', another);
    const over = await drafting.payload('notices', another);
    await drafting.expectOk(drafting.sign('notices', another, 'one', over));
    expect(said(await attach('one', over))).toBe('422 signature-invalid');
    expect(said(await attachEnvelope(envelopeBy(['one'], over)))).toBe('422 signature-invalid');
  });

  it('of an earlier round of the same draft is invalid after it was returned', async () => {
    await drafting.expectOk(attach('one'));
    await drafting.expectOk(drafting.step('two', 'notices', id, 'return', { reason: 'A mistake.' }));
    desk.clock!.pass(1000);
    await drafting.approve('notices', id);
    expect(said(await attach('one', payload))).toBe('422 signature-invalid');
  });

  it('by one key counts once, under whatever name', async () => {
    await drafting.expectOk(attach('one'));
    expect(said(await attach('one'))).toBe('409 signature-repeated');
    const [signature] = envelopeBy(['one']).signatures;
    const renamed = { ...signature, keyid: 'twin' };
    expect(said(await drafting.step('two', 'notices', id, 'signatures', renamed))).toBe('409 signature-repeated');
    expect(said(await drafting.step('one', 'notices', id, 'publish'))).toBe('422 statement-unsigned');
  });

  it.each([
    ['no base64', '§§§'],
    ['another spelling of base64', `${'A'.repeat(85)}B=`],
    ['too short', Buffer.alloc(63).toString('base64')],
    ['zeros', Buffer.alloc(64).toString('base64')],
  ])('that is %s is invalid', async (_what, sig) => {
    expect(said(await drafting.step('one', 'notices', id, 'signatures', { sig }))).toBe('422 signature-invalid');
  });
});

describe('an envelope', () => {
  it('brings the signatures of several officers', async () => {
    const { body } = await attachEnvelope(envelopeBy(['one', 'two']));
    expect(body).toMatchObject({ signaturesMissing: 0 });
  });

  it('may hold those that are attached already, as each officer adds to the file of the one before', async () => {
    const first = envelopeBy(['one']);
    await drafting.expectOk(attachEnvelope(first));
    const second = envelopeBy(['two'], payload, Buffer.from(JSON.stringify(first)));
    expect(second.signatures.length).toBe(2);
    expect((await attachEnvelope(second)).body).toMatchObject({ signaturesMissing: 0 });
    expect(said(await attachEnvelope(second))).toBe('409 signature-repeated');
  });

  it('is taken whole or not at all', async () => {
    expect(said(await attachEnvelope(envelopeBy(['one', 'expired'])))).toBe('403 signer-ineligible');
    expect((await drafting.read('notices', id)).body.signatures).toEqual([]);
  });

  it('with one signature twice counts it once', async () => {
    const { signatures, ...rest } = envelopeBy(['one']);
    const twice = { ...rest, signatures: [...signatures, ...signatures] };
    expect(said(await attachEnvelope(twice))).toBe('409 signature-repeated');
  });

  it('of another payload type is another thing', async () => {
    const envelope = { ...envelopeBy(['one']), payloadType: 'application/json' };
    expect(said(await attachEnvelope(envelope))).toBe('422 signature-invalid');
    expect(PAYLOAD_TYPE).not.toBe('application/json');
  });
});

describe('publishing', () => {
  it('needs every signature to count at that moment', async () => {
    await drafting.expectOk(attach('one'));
    await drafting.expectOk(attach('two'));
    desk.register.revokeOfficer('two');
    expect(said(await drafting.step('one', 'notices', id, 'publish'))).toBe('422 statement-unsigned');
    expect(await desk.store.read(({ publications }) => publications.count({ draftId: id }))).toBe(0);
    expect((await drafting.read('notices', id)).body.state).toBe('approved');
  });

  it('queues exactly what was signed', async () => {
    await drafting.expectOk(attach('one'));
    await drafting.expectOk(attach('three'));
    await drafting.expectOk(drafting.step('reviewer', 'notices', id, 'publish'));
    const { statementId } = await drafting.settle('notices', id);
    // Two officers have the key of the first signature; which of them is named makes no difference.
    expect(desk.site.services.register.find(statementId)!.verified.signers).toEqual(['twin', 'three']);
    expect(said(await drafting.step('one', 'notices', id, 'publish'))).toBe('409 draft-state');
  });

  it('waits for fresh trust files, but for a release', async () => {
    const stay = await drafting.stay('reviewer');
    await drafting.expectOk(drafting.step('reviewer', 'stays', stay.id, 'propose'));
    await drafting.expectOk(drafting.sign('stays', stay.id, 'reviewer', undefined, 'reviewer'));
    await drafting.expectOk(attach('one'));
    await drafting.expectOk(attach('three'));
    desk.clock!.pass(20 * DAY * 1000);
    expect(said(await drafting.step('one', 'notices', id, 'publish'))).toBe('503 trust-expired');
    await drafting.expectOk(drafting.step('reviewer', 'stays', stay.id, 'publish'));
    desk.register.refreshTimestamp();
    await drafting.expectOk(drafting.step('one', 'notices', id, 'publish'));
  });

  it('refuses a notice whose term ended while it lay there', async () => {
    await drafting.expectOk(attach('one'));
    await drafting.expectOk(attach('three'));
    desk.clock!.pass(30 * DAY * 1000);
    desk.register.refreshTimestamp();
    expect(said(await drafting.step('one', 'notices', id, 'publish'))).toBe('409 draft-state');
    expect(await desk.store.read(({ publications }) => publications.count({ draftId: id }))).toBe(0);
  });

  it('refuses a change of what the register has not got', async () => {
    const fields = { reasons: { public: 'x' }, notice: 'a'.repeat(64), from: 'now' };
    const { id: revocation } = await drafting.open('revocations', fields, 'reviewer');
    const answer = await drafting.step('reviewer', 'revocations', revocation, 'propose');
    expect(said(answer)).toBe('422 statement-target-unknown');
  });
});
