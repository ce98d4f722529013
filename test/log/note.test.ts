import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  composeNote,
  composeSignatureLine,
  composeVerifierKey,
  createCosignatureVerifier,
  createCosigner,
  createSigner,
  createVerifier,
  isBy,
  parseNote,
  parseSignatureLine,
  parseVerifierKey,
} from '../../src/log/note.ts';

const newKey = () => generateKeyPairSync('ed25519').privateKey;
const invalidNote = expect.objectContaining({ code: 'note-invalid' });
const invalidKey = expect.objectContaining({ code: 'key-invalid' });

/** Example of C2SP signed-note, "Verifier keys". */
const SPEC_KEY = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k';
const SPEC_NOTE = `This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
`;

/** Example of golang.org/x/mod/sumdb/note: another implementation's key and note. */
const GO_KEY = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
const GO_SIGNATURE =
  '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=';
const GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";

/** Example of C2SP tlog-cosignature; its keys are not published, its time is. */
const COSIGNED = `example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
`;

const bytesOf = (text: string) => Buffer.from(text);

describe('published examples', () => {
  it.each([
    ['C2SP signed-note', SPEC_KEY, SPEC_NOTE],
    ['Go sumdb/note', GO_KEY, `${GO_TEXT}\n${GO_SIGNATURE}\n`],
  ])('%s: the key verifies the note, and no other text', (_, keyText, noteText) => {
    const key = parseVerifierKey(keyText);
    expect(key.type).toBe('ed25519');
    expect(composeVerifierKey(key)).toBe(keyText);
    const verifier = createVerifier(key.name, key.publicKey);
    const note = parseNote(bytesOf(noteText));
    expect(note.signatures).toHaveLength(1);
    const [signature] = note.signatures;
    expect(isBy(signature!, verifier)).toBe(true);
    expect(verifier.verify(note.body, signature!.signature)).toBe(true);
    expect(verifier.verify(`${note.body}x\n`, signature!.signature)).toBe(false);
    expect(composeNote(note.body, note.signatures).toString()).toBe(noteText);
  });

  it('C2SP tlog-cosignature: the line holds the time that the signed message says', () => {
    const [, witness] = parseNote(bytesOf(COSIGNED)).signatures;
    expect(witness).toMatchObject({ name: 'witness.example.com/w1', keyId: 0x8d66cf3f });
    expect(witness!.signature).toHaveLength(8 + 64);
    expect(witness!.signature.readBigUInt64BE(0)).toBe(1679315147n);
  });

  it('C2SP signed-note: text with an empty line in it', () => {
    const text = 'Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n';
    const line = composeSignatureLine(createSigner('quasimodo.example/salvatore', newKey()).sign(text));
    expect(parseNote(bytesOf(`${text}\n${line}`)).body).toBe(text);
  });
});

describe('parseNote', () => {
  const line = `${GO_SIGNATURE}\n`;

  // The first seven are those of Go's own tests.
  it.each([
    ['text alone', GO_TEXT],
    ['no signature', `${GO_TEXT}\n`],
    ['a last line that does not end', `${GO_TEXT}\n${GO_SIGNATURE}`],
    ['a control character', `\x01${GO_TEXT}\n${line}`],
    ['bytes that are no UTF-8', Buffer.concat([Buffer.of(0xff), bytesOf(`${GO_TEXT}\n${line}`)])],
    ['a space in a name', `${GO_TEXT}\n${line.replace('Peter', 'Peter ')}`],
    ['a line after the signatures', `${GO_TEXT}\n${line}Unexpected line.\n`],
    ['an empty line after the signatures', `${GO_TEXT}\n${line}\n`],
    ['a carriage return', `${GO_TEXT}\n${line.replace('\n', '\r\n')}`],
    ['a tab', `a\tb\n\n${line}`],
    ['a hyphen for the dash', `${GO_TEXT}\n${line.replace('—', '-')}`],
    ['a plus sign in a name', `${GO_TEXT}\n${line.replace('Peter', 'Peter+')}`],
    ['a no-break space in a name', `${GO_TEXT}\n${line.replace('Peter', 'Peter\u00a0')}`],
    ['no name', `${GO_TEXT}\n${line.replace('PeterNeumann', '')}`],
    ['base64 without its padding', `${GO_TEXT}\n${line.replace('=', '')}`],
    ['base64 with bits left over', `${GO_TEXT}\n${line.replace('nAM=', 'nAN=')}`],
    ['base64 of the URL kind', `${GO_TEXT}\n${line.replace('/', '_')}`],
    ['a key id alone', `${GO_TEXT}\n— PeterNeumann x08gow==\n`],
    ['nothing', ''],
  ])('refuses %s', (_, note) => {
    expect(() => parseNote(Buffer.from(note as string))).toThrow(invalidNote);
  });

  it('takes 16 signatures and more of the longest kind, and no endless list', () => {
    const long = composeSignatureLine({ name: 'pq.example', keyId: 1, signature: Buffer.alloc(5000, 1) });
    expect(parseNote(bytesOf(`text\n\n${long.repeat(16)}`)).signatures).toHaveLength(16);
    expect(() => parseNote(bytesOf(`text\n\n${long.repeat(30)}`))).toThrow(invalidNote);
    expect(parseNote(bytesOf(`text\n\n${line.repeat(64)}`)).signatures).toHaveLength(64);
    expect(() => parseNote(bytesOf(`text\n\n${line.repeat(65)}`))).toThrow(invalidNote);
    expect(() => parseNote(bytesOf(SPEC_NOTE), { maxBytes: SPEC_NOTE.length, maxSignatures: 1 })).toThrow(invalidNote);
  });

  it('reads back whatever was composed', () => {
    const signer = createSigner('log.example', newKey());
    const lines = fc.array(
      fc.string({ unit: 'grapheme' }).filter((text) => !/\p{Cc}/u.test(text)),
      { minLength: 1 },
    );
    fc.assert(
      fc.property(lines, (texts) => {
        const body = `${texts.join('\n')}\n`;
        const note = parseNote(composeNote(body, [signer.sign(body)]));
        expect(note.body).toBe(body);
        expect(signer.keyId).toBe(note.signatures[0]!.keyId);
      }),
    );
  });

  it('throws nothing but its own refusal, whatever it reads', () => {
    const parts = fc.constantFrom('\n', '— ', 'name', ' ', 'AAAAAAAA', '=', 'x', '\n\n', '\u2028', '\0', '+');
    fc.assert(
      fc.property(fc.array(parts), (texts) => {
        try {
          parseNote(bytesOf(texts.join('')));
        } catch (error) {
          expect(error).toEqual(invalidNote);
        }
      }),
    );
  });
});

describe('composeNote', () => {
  it.each(['no newline', 'tab\t\n', 'nul\0\n'])('refuses text that no note can hold: %j', (body) => {
    expect(() => composeNote(body, [])).toThrow(invalidNote);
  });
});

describe('a verifier key', () => {
  it.each(['ed25519', 'cosignature'] as const)('of type %s is read back', (type) => {
    const { publicKey } = createSigner('x.example', newKey());
    const key = { name: 'x.example', type, publicKey };
    expect(parseVerifierKey(composeVerifierKey(key))).toEqual(key);
  });

  it('has another id for each type and each name', () => {
    const key = newKey();
    const ids = [createSigner('a', key), createCosigner('a', key), createSigner('b', key)].map((one) => one.keyId);
    expect(new Set(ids).size).toBe(3);
  });

  it.each([
    ['the id of another key', SPEC_KEY.replace('530d903a', '530d903b')],
    ['an id in capitals', SPEC_KEY.replace('530d903a', '530D903A')],
    ['another name', SPEC_KEY.replace('foo', 'bar')],
    ['a key that is too long', 'PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY=='],
    ['an unknown type', 'PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'],
    ['two parts', 'example.com/foo+530d903a'],
    ['nothing', ''],
  ])('with %s is refused', (_, text) => {
    expect(() => parseVerifierKey(text)).toThrow(invalidKey);
  });

  it.each(['', 'AAAA', 'not base64', `${'A'.repeat(42)}B=`])('of raw bytes %j is refused', (publicKey) => {
    expect(() => createVerifier('x', publicKey)).toThrow(invalidKey);
    expect(() => createCosignatureVerifier('x', publicKey)).toThrow(invalidKey);
  });

  it.each(['', 'a b', 'a+b', 'a\nb', 'a\u2003b'])('named %j is refused', (name) => {
    expect(() => createSigner(name, newKey())).toThrow(invalidKey);
  });

  it('of another algorithm is refused', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    expect(() => createSigner('x', privateKey)).toThrow(invalidKey);
  });
});

describe('a cosignature', () => {
  const key = newKey();
  const cosigner = createCosigner('w.example', key);
  const verifier = createCosignatureVerifier('w.example', cosigner.publicKey);
  const body = 'example.com/log\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n';

  it('is over header, time and text (C2SP tlog-cosignature, "Ed25519 signed message")', () => {
    const { signature } = cosigner.cosign(body, 1679315147);
    const message = bytesOf(`cosignature/v1\ntime 1679315147\n${body}`);
    expect(verify(null, message, createPublicKey(key), signature.subarray(8))).toBe(true);
  });

  it('verifies for its time, its text and its key alone', () => {
    const { signature } = cosigner.cosign(body, 1679315147);
    expect(verifier.verify(body, signature)).toBe(1679315147);
    expect(verifier.verify(body.replace('1\n', '2\n'), signature)).toBeUndefined();
    const later = Buffer.from(signature);
    later[7]! += 1;
    expect(verifier.verify(body, later)).toBeUndefined();
    expect(
      createCosignatureVerifier('w', createSigner('w', newKey()).publicKey).verify(body, signature),
    ).toBeUndefined();
  });

  it.each([
    ['cut short', (signature: Buffer) => signature.subarray(0, 71)],
    ['too long', (signature: Buffer) => Buffer.concat([signature, Buffer.of(0)])],
    [
      'of a time past what numbers hold',
      (signature: Buffer) => Buffer.concat([Buffer.alloc(8, 0x7f), signature.subarray(8)]),
    ],
  ])('%s is none', (_, change) => {
    expect(verifier.verify(body, change(cosigner.cosign(body, 5).signature))).toBeUndefined();
  });

  it('is no signature of the other type, nor the other way round', () => {
    const plain = createSigner('w.example', key);
    const plainVerifier = createVerifier('w.example', plain.publicKey);
    expect(verifier.verify(body, plain.sign(body).signature)).toBeUndefined();
    expect(plainVerifier.verify(body, cosigner.cosign(body, 5).signature)).toBe(false);
    expect(isBy(cosigner.cosign(body, 5), plainVerifier)).toBe(false);
  });

  it('survives its text form', () => {
    const signature = cosigner.cosign(body, 5);
    expect(parseSignatureLine(composeSignatureLine(signature).trimEnd())).toEqual(signature);
  });
});
