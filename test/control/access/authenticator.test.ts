import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createToken, parseToken } from '../../../src/control/access/api-token.ts';
import { createAuthenticator } from '../../../src/control/access/authenticator.ts';
import type { OidcTerms } from '../../../src/control/access/oidc-verifier.ts';
import type { Actor } from '../../../src/control/access/roles.ts';
import { NodeRegistry } from '../../../src/register/receipt.ts';
import { composeCredential } from '../../../src/sync/node-identity.ts';
import { keys, LICENSEE, NOW } from '../../register/fixture.ts';
import { makeFolder } from '../../support/folders.ts';
import { type ControlRig, createControlRig, createTestRandom, NODES, ORIGIN } from '../http/control-rig.ts';

let rig: ControlRig;

beforeEach(async () => {
  rig = await createControlRig();
});
afterEach(() => rig.close());

/** Asks who a header names, at the rig's time. */
async function identify(
  authorization: string,
  { oidc, url = '/v1/me' }: { oidc?: OidcTerms; url?: string } = {},
): Promise<Actor> {
  const clock = { wallMillis: () => rig.now * 1000, monotonicMillis: () => 0 };
  const nodes = { read: async () => NodeRegistry.parse(NODES) };
  const authenticate = createAuthenticator({
    store: rig.store,
    clock,
    origin: ORIGIN,
    nodes,
    trust: rig.services.trust,
    oidc,
  });
  return authenticate(authorization, { url } as never);
}

const refusal = (message: string | RegExp) => ({ code: 'unauthenticated', message: expect.stringMatching(message) });
const UNKNOWN = refusal(/^this token is not known/);

describe('an API token', () => {
  it('is of no use to an officer whose time has ended, or whom authorities.json no longer names', async () => {
    const token = `Bearer ${rig.tokens['approving-officer']}`;
    const { authorities } = await rig.services.trust.read(rig.now);
    const { officers } = authorities.byId.get('mcmc')!;
    const one = officers.find(({ id }) => id === 'one')! as { validUntilSeconds: number };
    const until = one.validUntilSeconds;
    one.validUntilSeconds = rig.now;
    await expect(identify(token)).rejects.toMatchObject({ code: 'forbidden' });
    one.validUntilSeconds = rig.now + 1;
    expect(await identify(token)).toMatchObject({ id: 'one' });
    one.validUntilSeconds = until;
  });

  it('names its person', async () => {
    expect(await identify(`Bearer ${rig.tokens['approving-officer']}`)).toEqual({
      id: 'one',
      roles: new Set(['approving-officer', 'public']),
      authority: 'mcmc',
    });
    expect(await identify(`bearer  ${rig.tokens.operator}`)).toEqual({
      id: 'olga',
      roles: new Set(['operator', 'public']),
      licensee: LICENSEE,
    });
    expect(await identify(`Bearer ${rig.tokens.admin}`)).toEqual({ id: 'adam', roles: new Set(['admin', 'public']) });
  });

  it('has a secret of 256 bits, of which only a hash is kept', async () => {
    const { token, record } = createToken({
      ...{ userId: 'adam', label: 'x', scopes: [], days: 1, nowMillis: NOW * 1000, random: createTestRandom('own') },
    });
    const { id, secret } = parseToken(token)!;
    expect([id, Buffer.from(secret, 'base64url').length]).toEqual([record.id, 32]);
    expect(JSON.stringify(record)).not.toContain(secret);
    expect(record.hash).toMatch(/^[0-9a-f]{64}$/);
  });

  it('tells apart a secret that begins with or has the separator in it', () => {
    const id = '01900000-0000-7000-8000-000000000000';
    for (const secret of ['_'.repeat(43), `_${'-'.repeat(42)}`, `${'a'.repeat(42)}_`]) {
      expect(parseToken(`wt_${id}_${secret}`)).toEqual({ id, secret });
    }
  });

  const OF = () => rig.tokens.admin;
  const other = (text: string) => (text === 'A' ? 'B' : 'A');
  it.each([
    ['with another secret', () => OF().replace(/(.)(.{5})$/, (_all, one, rest) => other(one) + rest)],
    ['with its last bits altered', () => OF().slice(0, -1) + other(OF().at(-1)!)],
    ['with the secret of another', () => OF().slice(0, 40) + rig.tokens.auditor.slice(40)],
    ['of an id that there is none of', () => OF().replace(/^wt_.{8}/, 'wt_ffffffff')],
    ['cut short', () => OF().slice(0, -1)],
    ['with more to it', () => `${OF()}A`],
    ['in capitals', () => OF().toUpperCase()],
    ['of nothing', () => 'wt__'],
    ['that is its hash', () => 'a'.repeat(64)],
  ])('%s is refused like any other that is not known', async (_case, compose) => {
    await expect(identify(`Bearer ${compose()}`)).rejects.toMatchObject(UNKNOWN);
  });

  it.each(['', 'Bearer', 'Bearer ', 'Basic YTpi', 'Bearer a b', 'Bearer é', 'Bearer \u0000', 'Token x'])(
    'is not what %j has',
    async (authorization) => {
      await expect(identify(authorization)).rejects.toMatchObject(refusal(/Bearer <token>/));
    },
  );

  it('counts until its end and no longer', async () => {
    const { expiresSeconds } = (await rig.store.read(({ tokens }) => tokens.get(parseToken(rig.tokens.admin)!.id)))!;
    rig.now = expiresSeconds - 1;
    expect(await identify(`Bearer ${rig.tokens.admin}`)).toMatchObject({ id: 'adam' });
    rig.now = expiresSeconds;
    await expect(identify(`Bearer ${rig.tokens.admin}`)).rejects.toMatchObject(refusal(/expired/));
  });

  it('tells that it expired, was revoked or is of a disabled account only to who has its secret', async () => {
    const wrong = `${OF().slice(0, -6)}AAAAAA`;
    const { id } = parseToken(OF())!;
    await rig.store.transaction(({ tokens }) => tokens.update(id, { revokedSeconds: NOW }));
    await expect(identify(`Bearer ${OF()}`)).rejects.toMatchObject(refusal(/revoked/));
    await expect(identify(`Bearer ${wrong}`)).rejects.toMatchObject(UNKNOWN);
    await rig.store.transaction(async ({ tokens, users }) => {
      await tokens.update(id, { revokedSeconds: null });
      await users.update('adam', { disabled: true });
    });
    await expect(identify(`Bearer ${OF()}`)).rejects.toMatchObject(refusal(/disabled/));
    await expect(identify(`Bearer ${wrong}`)).rejects.toMatchObject(UNKNOWN);
  });

  it('stops to count with the next request once it is revoked', async () => {
    const token = rig.tokens['approving-officer'];
    expect((await rig.send('GET /v1/me', { as: { token } })).statusCode).toBe(404); // no area is there, but it is known
    await rig.store.transaction(({ tokens }) => tokens.update(parseToken(token)!.id, { revokedSeconds: NOW }));
    await expect(identify(`Bearer ${token}`)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('gives what its scopes and the account’s roles have in common, as they are now', async () => {
    const { id } = parseToken(rig.tokens['approving-officer'])!;
    const set = async (
      roles: ('case-officer' | 'approving-officer')[],
      scopes: ('case-officer' | 'approving-officer')[],
    ) => {
      await rig.store.transaction(async ({ users, tokens }) => {
        await users.update('one', { roles });
        await tokens.update(id, { scopes });
      });
      return [...(await identify(`Bearer ${rig.tokens['approving-officer']}`)).roles];
    };
    expect(await set(['case-officer', 'approving-officer'], [])).toEqual([
      'case-officer',
      'approving-officer',
      'public',
    ]);
    expect(await set(['case-officer', 'approving-officer'], ['case-officer'])).toEqual(['case-officer', 'public']);
    expect(await set(['case-officer'], ['approving-officer'])).toEqual(['public']);
    expect(await set(['case-officer'], [])).toEqual(['case-officer', 'public']);
  });

  it('is nowhere in what the server logs', async () => {
    await rig.send('GET /v1/users', { as: 'admin' });
    await rig.send('GET /v1/users', { as: { token: `${rig.tokens.admin}x` } });
    expect(JSON.stringify([rig.logged, rig.faults])).not.toContain(rig.tokens.admin.slice(40));
  });
});

describe('a node’s credential', () => {
  const identity = { licensee: LICENSEE, node: 'kl-1', key: keys.one };

  it('names the node and its licensee, for the path it is about', async () => {
    const authorization = await composeCredential(identity, ORIGIN, 'v1/effect', NOW);
    expect(await identify(authorization, { url: '/v1/effect?limit=1' })).toEqual({
      ...{ id: `${LICENSEE}/kl-1`, licensee: LICENSEE, roles: new Set(['node', 'public']) },
    });
    await expect(identify(authorization, { url: '/v1/nodes' })).rejects.toMatchObject({ code: 'credential-invalid' });
  });

  it('of a node that is not enrolled, or with another key, is refused', async () => {
    for (const change of [{ node: 'kl-2' }, { key: keys.two }, { licensee: 'NSP-2' }]) {
      const authorization = await composeCredential({ ...identity, ...change }, ORIGIN, 'v1/me', NOW);
      await expect(identify(authorization)).rejects.toMatchObject({ code: 'credential-invalid' });
    }
  });
});

describe('a sign-in token', async () => {
  const ISSUER = 'https://login.test/realms/warta';
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const rsa = await generateKeyPair('RS256');
  const stranger = await generateKeyPair('ES256');
  const jwks = {
    keys: [
      { ...(await exportJWK(publicKey)), kid: 'ec', alg: 'ES256', use: 'sig' },
      { ...(await exportJWK(rsa.publicKey)), kid: 'rsa', use: 'sig' },
    ],
  };
  const jwksFile = join(makeFolder(), 'jwks.json');
  writeFileSync(jwksFile, JSON.stringify(jwks));
  const oidc: OidcTerms = { issuer: ISSUER, audience: 'warta', jwksFile };

  const claims = { iss: ISSUER, aud: 'warta', sub: 'f:1234:one', iat: NOW - 10, exp: NOW + 300 };

  const compose = (changes: object = {}, header: object = {}, key = privateKey) => {
    const payload = Object.fromEntries(
      Object.entries({ ...claims, ...changes }).filter(([, value]) => value !== undefined),
    );
    return new SignJWT(payload).setProtectedHeader({ alg: 'ES256', kid: 'ec', typ: 'JWT', ...header }).sign(key);
  };

  /** Signs by hand, whatever it says. */
  const forge = (header: object, sign: (text: string) => string) => {
    const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = `${encode(header)}.${encode(claims)}`;
    return `${signed}.${sign(signed)}`;
  };

  beforeEach(async () => {
    await rig.store.transaction(async ({ users }) => {
      await users.update('one', { oidcSubject: claims.sub, roles: ['case-officer', 'approving-officer'] });
    });
  });

  it.each([
    ['as the issuer makes it', {}, {}],
    ['of an access token (RFC 9068)', {}, { typ: 'at+jwt' }],
    ['of no stated type', {}, { typ: undefined }],
    ['for several audiences', { aud: ['other', 'warta'] }, {}],
    ['within the tolerance of clocks', { exp: NOW - 29, nbf: NOW + 29 }, {}],
    ['that claims roles, which are not looked at', { roles: ['admin'], warta_roles: ['admin'] }, {}],
  ])('%s names the account of its subject, whose roles count', async (_case, changes, header) => {
    expect(await identify(`Bearer ${await compose(changes, header)}`, { oidc })).toEqual({
      ...{ id: 'one', authority: 'mcmc', roles: new Set(['case-officer', 'approving-officer', 'public']) },
    });
  });

  it('may be signed with any of the issuer’s keys', async () => {
    const token = await compose({}, { alg: 'RS256', kid: 'rsa' }, rsa.privateKey);
    expect(await identify(`Bearer ${token}`, { oidc })).toMatchObject({ id: 'one' });
  });

  const pem = JSON.stringify(jwks.keys[1]);
  it.each<[string, () => string | Promise<string>]>([
    ['expired', () => compose({ exp: NOW - 31 })],
    ['not to begin yet', () => compose({ nbf: NOW + 31 })],
    ['issued in times to come', () => compose({ iat: NOW + 3600, exp: NOW + 7200 })],
    ['issued a day ago', () => compose({ iat: NOW - 25 * 3600 })],
    ['without an end', () => compose({ exp: undefined })],
    ['without a beginning', () => compose({ iat: undefined })],
    ['for someone else', () => compose({ aud: 'other' })],
    ['for nobody', () => compose({ aud: undefined })],
    ['without a subject', () => compose({ sub: undefined })],
    ['with an empty subject', () => compose({ sub: '' })],
    ['signed by a stranger', () => compose({}, {}, stranger.privateKey)],
    ['of a key that the issuer has not', () => compose({}, { kid: 'other' })],
    ['of another type', () => compose({}, { typ: 'logout+jwt' })],
    [
      'with what it says altered',
      async () =>
        (await compose()).replace(
          /\.[^.]+\./,
          `.${Buffer.from(JSON.stringify({ ...claims, sub: 'x' })).toString('base64url')}.`,
        ),
    ],
    ['signed by nobody', () => forge({ alg: 'none', typ: 'JWT' }, () => '')],
    [
      'signed with the public key as a secret',
      () => forge({ alg: 'HS256', kid: 'rsa' }, (text) => createHmac('sha256', pem).update(text).digest('base64url')),
    ],
    [
      'that brings its own key',
      async () => compose({}, { jwk: await exportJWK(stranger.publicKey), kid: undefined }, stranger.privateKey),
    ],
    [
      'with a critical header that nobody knows',
      () => forge({ alg: 'ES256', kid: 'ec', crit: ['x'], x: 1 }, () => 'AAAA'),
    ],
    ['that is far too long', () => compose({ padding: 'x'.repeat(9000) })],
  ])('that is %s is refused', async (_case, make) => {
    await expect(identify(`Bearer ${await make()}`, { oidc })).rejects.toMatchObject(
      refusal(/^this sign-in token is not accepted: /),
    );
  });

  it.each([
    ['of another issuer', { iss: 'https://evil.test' }],
    ['of an issuer that is spelled otherwise', { iss: `${ISSUER}/` }],
    ['of no issuer', { iss: undefined }],
  ])('%s is refused', async (_case, changes) => {
    await expect(identify(`Bearer ${await compose(changes)}`, { oidc })).rejects.toMatchObject(UNKNOWN);
  });

  it('is not taken where no issuer is configured', async () => {
    await expect(identify(`Bearer ${await compose()}`)).rejects.toMatchObject(UNKNOWN);
  });

  it('of someone without an account is refused, and so is that of a disabled one', async () => {
    const token = await compose({ sub: 'stranger' });
    await expect(identify(`Bearer ${token}`, { oidc })).rejects.toMatchObject(refusal(/has no account/));
    await rig.store.transaction(({ users }) => users.update('one', { disabled: true }));
    await expect(identify(`Bearer ${await compose()}`, { oidc })).rejects.toMatchObject(refusal(/disabled/));
  });

  it.each([
    ['warta_roles', { warta_roles: ['case-officer', 'admin'] }, ['case-officer', 'public']],
    ['warta_roles', { warta_roles: [] }, ['public']],
    ['warta_roles', {}, ['public']],
    ['warta_roles', { warta_roles: 'case-officer' }, ['public']],
    ['warta_roles', { warta_roles: ['admin', 'public', 'node', 7] }, ['public']],
    ['realm_access.roles', { realm_access: { roles: ['approving-officer'] } }, ['approving-officer', 'public']],
    ['https://warta.test/roles', { 'https://warta.test/roles': ['case-officer'] }, ['case-officer', 'public']],
    ['constructor.name', {}, ['public']],
  ])('narrows the roles by the claim %s when told to: %j', async (rolesClaim, changes, roles) => {
    const actor = await identify(`Bearer ${await compose(changes)}`, { oidc: { ...oidc, rolesClaim } });
    expect([...actor.roles]).toEqual(roles);
  });

  it.each([
    ['no keys', {}, 'config-invalid'],
    ['keys from a plain address elsewhere', { jwksUri: 'http://login.test/jwks' }, 'config-invalid'],
    ['a file that is not there', { jwksFile: '/nowhere/jwks.json' }, 'config-unreadable'],
    ['a file that is none', { jwksFile: new URL('../../../README.md', import.meta.url).pathname }, 'config-invalid'],
  ])('cannot be configured with %s', async (_case, terms, code) => {
    const given = { issuer: ISSUER, audience: 'warta', ...terms };
    await expect(identify('Bearer x', { oidc: given })).rejects.toMatchObject({ code });
  });

  describe('with keys that are fetched', () => {
    let server: Server;
    let jwksUri: string;
    let fetched = 0;
    let answer: () => [number, string] = () => [200, JSON.stringify(jwks)];

    beforeAll(async () => {
      server = createServer((_request, response) => {
        fetched++;
        const [status, body] = answer();
        response.writeHead(status, { 'content-type': 'application/json' }).end(body);
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      jwksUri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`;
    });
    afterAll(() => void server.close());
    beforeEach(() => {
      fetched = 0;
      answer = () => [200, JSON.stringify(jwks)];
    });

    function createRemote() {
      const clock = { wallMillis: () => NOW * 1000, monotonicMillis: () => 0 };
      const nodes = { read: async () => NodeRegistry.parse(NODES) };
      const terms = { issuer: ISSUER, audience: 'warta', jwksUri };
      const authenticate = createAuthenticator({
        store: rig.store,
        clock,
        origin: ORIGIN,
        nodes,
        trust: rig.services.trust,
        oidc: terms,
      });
      return async (token: string) => authenticate(`Bearer ${token}`, { url: '/v1/me' } as never);
    }

    it('is verified, and the keys are fetched once', async () => {
      const authenticate = createRemote();
      for (let count = 0; count < 5; count++) expect(await authenticate(await compose())).toMatchObject({ id: 'one' });
      expect(fetched).toBe(1);
    });

    it('does not make the server ask for keys again and again for a key that nobody has', async () => {
      const authenticate = createRemote();
      for (let count = 0; count < 5; count++) {
        await expect(authenticate(await compose({}, { kid: `k${count}` }))).rejects.toMatchObject({
          code: 'unauthenticated',
        });
      }
      expect(fetched).toBe(1);
    });

    it.each<[string, [number, string]]>([
      ['fails', [500, '']],
      ['leads elsewhere', [302, '']],
      ['answers nonsense', [200, '<html>']],
      ['answers no keys', [200, '{"keys":7}']],
    ])('is no fault of who asks when the issuer %s', async (_case, given) => {
      answer = () => given;
      const authenticate = createRemote();
      await expect(authenticate(await compose())).rejects.toMatchObject({ code: 'identity-unavailable' });
      answer = () => [200, JSON.stringify(jwks)];
      expect(await authenticate(await compose())).toMatchObject({ id: 'one' });
    });
  });
});
