import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseForm } from '../../../src/control/http/form-body.ts';

const parse = (text: string | Uint8Array) => parseForm(Buffer.from(text as string));

describe('parseForm', () => {
  it('reads what browsers send', () => {
    expect(parse('notice=MCMC%2F2026%2F1&grounds=It+is%0D%0Amy+site.&contact=')).toEqual({
      notice: 'MCMC/2026/1',
      grounds: 'It is\nmy site.',
      contact: '',
    });
    expect(parse('')).toEqual({});
    expect(parse('confirm')).toEqual({ confirm: '' });
    expect(parse('text=a=b')).toEqual({ text: 'a=b' });
  });

  it('agrees with URLSearchParams about every form that it composes', () => {
    const name = fc.stringMatching(/^[a-z]{1,20}$/);
    const value = fc.string({ unit: 'binary', maxLength: 60 });
    fc.assert(
      fc.property(fc.dictionary(name, value, { maxKeys: 32, noNullPrototype: true }), (fields) => {
        const text = new URLSearchParams(fields).toString();
        const expected = [...new URLSearchParams(text)].map(([key, one]) => [key, one.replace(/\r\n?/g, '\n')]);
        expect(parse(text)).toEqual(Object.fromEntries(expected));
      }),
    );
  });

  it.each<[string, string | Uint8Array]>([
    ['bytes that are not UTF-8', Buffer.from([0x61, 0x3d, 0xff])],
    ['percent-encoded bytes that are not UTF-8', 'grounds=%FF'],
    ['half a character', 'grounds=%ED%A0%80'],
    ['more than the shortest form', 'grounds=%C0%BC'],
    ['percent signs of no code', 'grounds=100%'],
    ['percent signs of no hexadecimal code', 'grounds=%zz'],
    ['a field twice', 'grounds=a&grounds=b'],
    ['a field twice in other spellings', 'grounds=a&gr%6funds=b'],
    ['a name of other letters', 'a[b]=c'],
    ['__proto__', '__proto__=a'],
    ['no name', '=a'],
    ['nothing between two fields', 'a=1&&b=2'],
    [
      '33 fields',
      Array.from({ length: 33 }, (_, at) => `${'abcdefgh'[at >> 3] ?? 'z'}${'abcdefgh'[at & 7]}=1`).join('&'),
    ],
    ['JSON', '{"notice":"a"}'],
    ['a very long row of nothing', '&'.repeat(100_000)],
  ])('refuses %s', (_what, text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'request-invalid' }));
  });
});
