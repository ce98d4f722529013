import { hash, sign } from 'node:crypto';
import { SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { verifyCredential } from '../../../src/control/publishing/node-credential.ts';
import { publicKeyOf } from '../../../src/register/key.ts';
import { NodeRegistry } from '../../../src/register/receipt.ts';
import { composeCredential } from '../../../src/sync/node-identity.ts';
import { keys, NOW } from '../../register/fixture.ts';

const ORIGIN = 'register.test/log';
const PATH = `sealed/ab/${'ab'.repeat(32)}.jsonl`;
const LICENSEE = 'NSP(I)/2021/001';
const nodes = NodeRegistry.parse(
  JSON.stringify([
    { licensee: LICENSEE, node: 'kl-1', publicKey: publicKeyOf(keys.one) },
    { licensee: LICENSEE, node: 'kl-2', publicKey: publicKeyOf(keys.two) },
  ]),
);
const terms = { origin: ORIGIN, path: PATH, nodes, nowSeconds: NOW };

const claims = { iss: `${LICENSEE}/kl-1`, aud: ORIGIN, sub: PATH, iat: NOW, exp: NOW + 120 };
const header = { alg: 'EdDSA', typ: 'JWT' };

/** Signs a token by hand, whatever it says. */
function compose(changes: object = {}, head: object = header, key = keys.one): string {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${encode(head)}.${encode({ ...claims, ...changes })}`;
  return `${signed}.${sign(null, Buffer.from(signed), key).toString('base64url')}`;
}

describe('a credential', () => {
  it('as a node makes it names the node', async () => {
    const identity = { licensee: LICENSEE, node: 'kl-1', key: keys.one };
    const authorization = await composeCredential(identity, ORIGIN, PATH, NOW);
    expect(await verifyCredential(authorization.replace('Bearer ', ''), terms)).toBe(`${LICENSEE}/kl-1`);
  });

  it.each([
    ['its longest life', { exp: NOW + 300 }],
    ['a clock a minute ahead', { iat: NOW + 59, exp: NOW + 180 }],
    ['an end a moment ago', { iat: NOW - 120, exp: NOW - 59 }],
  ])('is good with %s', async (_case, changes) => {
    expect(await verifyCredential(compose(changes), terms)).toBe(claims.iss);
  });

  it.each([
    ['expired', compose({ iat: NOW - 200, exp: NOW - 61 })],
    ['not to begin yet', compose({ iat: NOW + 61, exp: NOW + 120 })],
    ['good for too long', compose({ exp: NOW + 301 })],
    ['without an end', compose({ exp: undefined })],
    ['without a beginning', compose({ iat: undefined })],
    ['for another register', compose({ aud: 'register.test/other' })],
    ['for no register', compose({ aud: undefined })],
    ['for another file', compose({ sub: PATH.replace('ab/', 'ac/') })],
    ['for no file', compose({ sub: undefined })],
    ['of a node that is not enrolled', compose({ iss: `${LICENSEE}/kl-3` })],
    ['of nobody', compose({ iss: undefined })],
    ['of another node, signed by this one', compose({ iss: `${LICENSEE}/kl-2` })],
    ['signed by a stranger', compose({}, header, keys.drafter)],
    ['of another type', compose({}, { alg: 'EdDSA', typ: 'at+jwt' })],
    ['without a type', compose({}, { alg: 'EdDSA' })],
    ['with a critical header', compose({}, { ...header, crit: ['x'], x: 1 })],
    ['without a signature', `${compose().split('.').slice(0, 2).join('.')}.`],
    ['said to be unsigned', compose({}, { alg: 'none', typ: 'JWT' })],
    ['nothing', ''],
    ['no token', 'a.b.c'],
    ['too long', `${compose()}${'A'.repeat(3000)}`],
  ])('is refused when it is %s', async (_case, token) => {
    await expect(verifyCredential(token, terms)).rejects.toMatchObject({ code: 'credential-invalid' });
  });

  it('is refused when it was signed with the public key as a shared secret', async () => {
    const secret = Buffer.from(publicKeyOf(keys.one), 'base64');
    const token = await new SignJWT({ ...claims }).setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).sign(secret);
    await expect(verifyCredential(token, terms)).rejects.toMatchObject({ code: 'credential-invalid' });
  });

  it('is refused when any character of it is another', async () => {
    const token = compose();
    for (let at = 0; at < token.length; at += 7) {
      const turned = token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
      if (hash('sha256', turned) === hash('sha256', token)) continue;
      await expect(verifyCredential(turned, terms)).rejects.toMatchObject({ code: 'credential-invalid' });
    }
  });
});
