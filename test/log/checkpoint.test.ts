import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type CheckpointPolicy, composeCheckpoint, openCheckpoint, parseCheckpoint } from '../../src/log/checkpoint.ts';
import { EMPTY_ROOT } from '../../src/log/merkle.ts';
import { composeNote, createCosigner, createSigner, type NoteSignature } from '../../src/log/note.ts';

const newKey = () => generateKeyPairSync('ed25519').privateKey;
const ROOT = 'CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=';
const invalid = expect.objectContaining({ code: 'note-invalid' });
const foreign = expect.objectContaining({ code: 'checkpoint-foreign' });

describe('parseCheckpoint', () => {
  it('reads the example of C2SP tlog-checkpoint', () => {
    const body = `example.com/behind-the-sofa\n20852163\n${ROOT}\n`;
    const checkpoint = { origin: 'example.com/behind-the-sofa', size: 20852163, root: Buffer.from(ROOT, 'base64') };
    expect(parseCheckpoint(body)).toEqual(checkpoint);
    expect(composeCheckpoint(checkpoint)).toBe(body);
  });

  it('ignores extension lines', () => {
    expect(parseCheckpoint(`log\n7\n${ROOT}\nextension\nanother\n`).size).toBe(7);
  });

  it.each([
    ['no origin', `\n7\n${ROOT}\n`],
    ['a leading zero', `log\n07\n${ROOT}\n`],
    ['a sign', `log\n+7\n${ROOT}\n`],
    ['a negative size', `log\n-7\n${ROOT}\n`],
    ['a size in hexadecimal', `log\n0x7\n${ROOT}\n`],
    ['a size with a blank', `log\n7 \n${ROOT}\n`],
    ['no size', `log\n\n${ROOT}\n`],
    ['a size that numbers cannot hold', `log\n9007199254740992\n${ROOT}\n`],
    ['a root cut short', `log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxqw==\n`],
    ['a root without padding', `log\n7\n${ROOT.slice(0, -1)}\n`],
    ['a root with bits left over', `log\n7\n${ROOT.replace('q2I=', 'q2J=')}\n`],
    ['no root', 'log\n7\n'],
    ['an empty extension line', `log\n7\n${ROOT}\n\nextension\n`],
    ['a last line that does not end', `log\n7\n${ROOT}`],
  ])('refuses %s', (_, body) => {
    expect(() => parseCheckpoint(body)).toThrow(invalid);
  });
});

const log = createSigner('log.example', newKey());
const witnesses = ['w1', 'w2', 'w3'].map((name) => createCosigner(`${name}.example`, newKey()));
const policy: CheckpointPolicy = {
  origin: 'log.example',
  publicKey: log.publicKey,
  witnesses: witnesses.map(({ name, publicKey }) => ({ name, publicKey })),
  quorum: 2,
};
const body = `log.example\n7\n${ROOT}\n`;
const cosign = (at: number, seconds: number) => witnesses[at]!.cosign(body, seconds);
const noteOf = (...signatures: NoteSignature[]) => composeNote(body, signatures);

describe('openCheckpoint', () => {
  it('says who cosigned, and whether they are enough', () => {
    const one = openCheckpoint(noteOf(log.sign(body), cosign(1, 50)), policy);
    expect(one.checkpoint).toMatchObject({ origin: 'log.example', size: 7 });
    expect(one).toMatchObject({ witnessed: false, newestCosignatureSeconds: 50, witnessedAtSeconds: undefined });
    expect(one.cosignatures).toEqual([{ name: 'w2.example', timeSeconds: 50 }]);
    const three = openCheckpoint(noteOf(cosign(0, 10), cosign(1, 50), log.sign(body), cosign(2, 30)), policy);
    expect(three).toMatchObject({ witnessed: true, newestCosignatureSeconds: 50, witnessedAtSeconds: 30 });
    expect(three.cosignatures.map(({ timeSeconds }) => timeSeconds)).toEqual([50, 30, 10]);
  });

  it('needs no witness where the quorum is none', () => {
    const opened = openCheckpoint(noteOf(log.sign(body)), { ...policy, witnesses: [], quorum: 0 });
    expect(opened).toMatchObject({ witnessed: true, cosignatures: [], newestCosignatureSeconds: undefined });
  });

  it('counts a witness once however often it signed, and takes its newest time', () => {
    const opened = openCheckpoint(noteOf(log.sign(body), cosign(0, 10), cosign(0, 90), cosign(0, 20)), policy);
    expect(opened).toMatchObject({ witnessed: false, newestCosignatureSeconds: 90 });
  });

  it('counts a key once under however many names', () => {
    const key = newKey();
    const [one, other] = [createCosigner('a.example', key), createCosigner('b.example', key)];
    const twice = { ...policy, witnesses: [one, other].map(({ name, publicKey }) => ({ name, publicKey })) };
    const opened = openCheckpoint(noteOf(log.sign(body), one.cosign(body, 1), other.cosign(body, 2)), twice);
    expect(opened).toMatchObject({ witnessed: false, newestCosignatureSeconds: 2 });
  });

  it('ignores signatures of unknown keys, also under a known name', () => {
    const stranger = createCosigner('w1.example', newKey());
    const impostor = createSigner('log.example', newKey());
    const opened = openCheckpoint(
      noteOf(impostor.sign(body), stranger.cosign(body, 99), log.sign(body), cosign(2, 30)),
      policy,
    );
    expect(opened.cosignatures).toEqual([{ name: 'w3.example', timeSeconds: 30 }]);
  });

  it('takes no cosignature by the log for a witness, nor a plain signature by a witness', () => {
    const key = newKey();
    const plain = createSigner('w1.example', key);
    const both = { ...policy, witnesses: [{ name: 'w1.example', publicKey: plain.publicKey }], quorum: 1 };
    expect(openCheckpoint(noteOf(log.sign(body), plain.sign(body)), both).witnessed).toBe(false);
  });

  it.each([
    ['of another log', { ...policy, origin: 'other.example' }, foreign],
    ['by another key', { ...policy, publicKey: createSigner('x', newKey()).publicKey }, foreign],
  ])('refuses a checkpoint %s', (_, other, refusal) => {
    expect(() => openCheckpoint(noteOf(log.sign(body), cosign(0, 1)), other)).toThrow(refusal);
  });

  it('refuses one that only witnesses signed', () => {
    expect(() => openCheckpoint(noteOf(cosign(0, 1), cosign(1, 1)), policy)).toThrow(foreign);
  });

  it.each([
    ['the log', (at: number) => (at === 0 ? spoil(log.sign(body)) : cosign(0, 1))],
    ['a witness', (at: number) => (at === 0 ? log.sign(body) : spoil(cosign(0, 1)))],
  ])('refuses one on which the signature of %s does not verify', (_, signatureOf) => {
    expect(() => openCheckpoint(noteOf(signatureOf(0), signatureOf(1)), policy)).toThrow(invalid);
  });

  it('refuses one whose good signature stands beside a bad one of the same key', () => {
    expect(() => openCheckpoint(noteOf(log.sign(body), spoil(log.sign(body))), policy)).toThrow(invalid);
  });

  it('refuses size 0 with any root but that of the empty tree', () => {
    const empty = composeCheckpoint({ origin: 'log.example', size: 0, root: EMPTY_ROOT });
    const wrong = `log.example\n0\n${ROOT}\n`;
    expect(openCheckpoint(composeNote(empty, [log.sign(empty)]), policy).checkpoint.size).toBe(0);
    expect(() => openCheckpoint(composeNote(wrong, [log.sign(wrong)]), policy)).toThrow(invalid);
  });

  it('refuses an endless note before it reads it', () => {
    expect(() => openCheckpoint(Buffer.alloc(200_000, 'a'), policy)).toThrow(invalid);
  });
});

function spoil(signature: NoteSignature): NoteSignature {
  const bytes = Buffer.from(signature.signature);
  bytes[20]! ^= 1;
  return { ...signature, signature: bytes };
}
