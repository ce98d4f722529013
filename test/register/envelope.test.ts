import { describe, expect, it } from 'vitest';
import { composePreAuthentication, findSigners, parseEnvelope, signEnvelope } from '../../src/register/envelope.ts';
import { authorities, signerOf } from './fixture.ts';

const officers = authorities.byId.get('mcmc')!.officers;
const payload = Buffer.from('{"a":1}');

describe('DSSE', () => {
  it('encodes the vector of the protocol', () => {
    const encoded = composePreAuthentication('http://example.com/HelloWorld', Buffer.from('hello world'));
    expect(encoded.toString()).toBe('DSSEv1 29 http://example.com/HelloWorld 11 hello world');
  });

  it('counts lengths in bytes', () => {
    expect(composePreAuthentication('é', Buffer.from('✓')).toString()).toBe('DSSEv1 2 é 3 ✓');
  });

  it('adds one officer after another and finds both', () => {
    const first = signEnvelope(payload, [signerOf('one')]);
    const both = signEnvelope(payload, [signerOf('two')], first);
    const again = signEnvelope(payload, [signerOf('two')], both);
    expect(again.equals(both)).toBe(true);
    expect(findSigners(parseEnvelope(both), officers).map(({ id }) => id)).toEqual(['one', 'two'].map(byKey));
  });

  it.each([
    ['true', ['mcmc/one', 'mcmc/two'], 2],
    ['by key', ['one', 'two'].map((id) => officers.find((officer) => officer.id === id)!.publicKey), 2],
    ['swapped', ['mcmc/two', 'mcmc/one'], 3],
    ['one name for both', ['mcmc/one', 'mcmc/one'], 3],
    ['of nobody', ['mcmc/nobody', ''], 3],
  ])('finds the same signers whatever the key ids: %s', (_, keyIds, tries) => {
    const envelope = JSON.parse(signEnvelope(payload, ['one', 'two'].map(signerOf)).toString());
    for (const [at, keyid] of keyIds.entries()) envelope.signatures[at].keyid = keyid;
    let tried = 0;
    const counted = ['two', 'one'].map((id) => {
      const officer = officers.find((one) => one.id === id)!;
      const get = () => {
        tried++;
        return officer.key;
      };
      return Object.defineProperty({ ...officer }, 'key', { get });
    });
    const signers = findSigners(parseEnvelope(Buffer.from(JSON.stringify(envelope))), counted);
    expect(signers.map(({ id }) => id).sort()).toEqual(['one', 'two']);
    expect(tried).toBeLessThanOrEqual(tries);
  });

  it('counts one key once, though two key ids name two officers', () => {
    const envelope = JSON.parse(signEnvelope(payload, [signerOf('one')]).toString());
    envelope.signatures.push({ ...envelope.signatures[0], keyid: 'mcmc/two' });
    expect(findSigners(parseEnvelope(Buffer.from(JSON.stringify(envelope))), officers)).toHaveLength(1);
  });

  it('refuses to add a signature to another statement', () => {
    const first = signEnvelope(payload, [signerOf('one')]);
    expect(() => signEnvelope(Buffer.from('{"a":2}'), [signerOf('two')], first)).toThrow('another statement');
  });

  it.each([
    ['base64 with a stray character', { payload: 'eyJhIjoxfQ=*' }],
    ['base64 without its padding', { payload: 'eyJhIjoxfQ' }],
    ['base64 with loose last bits', { payload: 'eyJhIjoxfR==' }],
    ['a foreign payload type', { payloadType: 'application/vnd.in-toto+json' }],
    ['an unknown key', { extra: 1 }],
    ['signatures that are no list', { signatures: {} }],
    ['17 signatures', { signatures: Array(17).fill({ sig: '' }) }],
  ])('refuses %s', (_case, change) => {
    const envelope = { ...JSON.parse(signEnvelope(payload, [signerOf('one')]).toString()), ...change };
    expect(() => parseEnvelope(Buffer.from(JSON.stringify(envelope)))).toThrow(
      expect.objectContaining({ code: 'statement-malformed' }),
    );
  });
});

/** The officer that stands for a key: of two with one key, the last that is listed. */
function byKey(id: string): string {
  const { publicKey } = officers.find((officer) => officer.id === id)!;
  return officers.filter((officer) => officer.publicKey === publicKey).at(-1)!.id;
}
