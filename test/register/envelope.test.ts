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
