import { createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto';
import { WartaError } from '../base/errors.ts';

/** How much of a note is read at most. */
export interface NoteLimits {
  readonly maxBytes: number;
  readonly maxSignatures: number;
}

/** A verifier must accept 16 signatures, of which a post-quantum one has nearly 5 kB (C2SP signed-note, "Format"). */
export const NOTE_LIMITS: NoteLimits = { maxBytes: 131_072, maxSignatures: 64 };

/** One signature line: who says to have signed, and the bytes of the signature without the key id. */
export interface NoteSignature {
  readonly name: string;
  readonly keyId: number;
  readonly signature: Buffer;
}

/** A note taken apart. Nothing of it may be used before a signature was verified. */
export interface Note {
  /** The text, with its final newline. */
  readonly body: string;
  readonly signatures: readonly NoteSignature[];
}

/** What signs: a name, the id of the key, and the raw public key in base64. */
interface NoteKey {
  readonly name: string;
  readonly keyId: number;
  readonly publicKey: string;
}

/** Signs the text of notes as it is: signature type 0x01. */
export interface Signer extends NoteKey {
  sign(body: string): NoteSignature;
}

/** Verifies signatures of type 0x01. */
export interface Verifier extends NoteKey {
  verify(body: string, signature: Uint8Array): boolean;
}

/** Signs checkpoints as of a time: signature type 0x04 (C2SP tlog-cosignature). */
export interface Cosigner extends NoteKey {
  cosign(body: string, timeSeconds: number): NoteSignature;
}

/** Verifies signatures of type 0x04. */
export interface CosignatureVerifier extends NoteKey {
  /** Returns the time the cosigner states, in seconds since 1970; `undefined` when the signature is not good. */
  verify(body: string, signature: Uint8Array): number | undefined;
}

/** Signature types, as the byte that goes into a key's id and its text form (C2SP signed-note, "Signature types"). */
const TYPE_BYTES = { ed25519: 0x01, cosignature: 0x04 } as const;

/** Type of a signature: over the note's text as it is, or a timestamped cosignature of a checkpoint. */
export type SignatureType = keyof typeof TYPE_BYTES;

const KEY_BYTES = 32;
const KEY_ID_BYTES = 4;
const TIME_BYTES = 8;
const ED25519_SIGNATURE_BYTES = 64;

/** What stands before a raw Ed25519 key in its SubjectPublicKeyInfo (RFC 8410 §4). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

/** An em dash and a space begin every signature line. */
const LINE_START = '\u2014 ';

/** Key names: no Unicode space, no plus sign, no control character (C2SP signed-note, "Format"). */
const KEY_NAME = /^[^\p{White_Space}\p{Cc}+]+$/u;

const SPACE = 0x20;
const NEWLINE = 0x0a;

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Takes a note apart without verifying anything (C2SP signed-note, "Format").
 *
 * @throws {WartaError} `note-invalid`: oversized, not strict UTF-8, control characters, no text or no signature line.
 */
export function parseNote(bytes: Uint8Array, limits: NoteLimits = NOTE_LIMITS): Note {
  if (bytes.length > limits.maxBytes) throw invalid(`it has ${bytes.length} bytes, ${limits.maxBytes} at most`);
  if (bytes.some(isControl)) throw invalid('it has a control character');
  const text = decodeText(bytes);
  const split = text.lastIndexOf('\n\n');
  if (split < 0) throw invalid('no empty line before signatures');
  if (!text.endsWith('\n')) throw invalid('its last line does not end');
  const lines = text.slice(split + 2, -1).split('\n');
  if (lines.length > limits.maxSignatures) {
    throw invalid(`it has ${lines.length} signatures, ${limits.maxSignatures} at most`);
  }
  return { body: text.slice(0, split + 1), signatures: lines.map(parseSignatureLine) };
}

function decodeText(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes);
  } catch (cause) {
    throw new WartaError('note-invalid', 'no signed note: it is not UTF-8', { cause });
  }
}

/** Whether a byte is a control character that no note may hold: any below the space but the newline. */
function isControl(byte: number): boolean {
  return byte < SPACE && byte !== NEWLINE;
}

/**
 * Parses one signature line, without its newline.
 *
 * @throws {WartaError} `note-invalid`.
 */
export function parseSignatureLine(line: string): NoteSignature {
  const [name, encoded, ...rest] = line.startsWith(LINE_START) ? line.slice(LINE_START.length).split(' ') : [];
  if (name === undefined || encoded === undefined || rest.length > 0 || !KEY_NAME.test(name)) {
    throw invalid('a line after the text is no signature line');
  }
  const bytes = decodeBase64(encoded);
  if (bytes === undefined || bytes.length <= KEY_ID_BYTES) throw invalid(`the signature of ${name} is not base64`);
  return { name, keyId: bytes.readUInt32BE(0), signature: bytes.subarray(KEY_ID_BYTES) };
}

/** Composes one signature line with its newline. */
export function composeSignatureLine({ name, keyId, signature }: NoteSignature): string {
  const id = Buffer.alloc(KEY_ID_BYTES);
  id.writeUInt32BE(keyId);
  return `${LINE_START}${name} ${Buffer.concat([id, signature]).toString('base64')}\n`;
}

/** Composes a note. The text must end in a newline. */
export function composeNote(body: string, signatures: readonly NoteSignature[]): Buffer {
  const note = Buffer.from(`${body}\n${signatures.map(composeSignatureLine).join('')}`);
  if (!body.endsWith('\n') || note.some(isControl))
    throw invalid('the text to sign needs lines that end, in plain text');
  return note;
}

/** Creates what signs the text of notes. The key must be Ed25519. */
export function createSigner(name: string, privateKey: KeyObject): Signer {
  const key = composeKey(name, 'ed25519', rawKeyOf(privateKey));
  return { ...key, sign: (body) => ({ name, keyId: key.keyId, signature: sign(null, Buffer.from(body), privateKey) }) };
}

/**
 * Creates what verifies the text of notes, from a raw Ed25519 key in base64.
 *
 * @throws {WartaError} `key-invalid`.
 */
export function createVerifier(name: string, publicKey: string): Verifier {
  const key = importKey(publicKey);
  return {
    ...composeKey(name, 'ed25519', publicKey),
    verify: (body, signature) => verify(null, Buffer.from(body), key, signature),
  };
}

/** Creates what cosigns checkpoints. The key must be Ed25519, and used by no other cosigner: its name is not signed. */
export function createCosigner(name: string, privateKey: KeyObject): Cosigner {
  const key = composeKey(name, 'cosignature', rawKeyOf(privateKey));
  return {
    ...key,
    cosign(body, timeSeconds) {
      const time = Buffer.alloc(TIME_BYTES);
      time.writeBigUInt64BE(BigInt(timeSeconds));
      const signature = sign(null, composeCosigned(body, timeSeconds), privateKey);
      return { name, keyId: key.keyId, signature: Buffer.concat([time, signature]) };
    },
  };
}

/**
 * Creates what verifies cosignatures, from a raw Ed25519 key in base64.
 *
 * @throws {WartaError} `key-invalid`.
 */
export function createCosignatureVerifier(name: string, publicKey: string): CosignatureVerifier {
  const key = importKey(publicKey);
  return {
    ...composeKey(name, 'cosignature', publicKey),
    verify(body, signature) {
      if (signature.length !== TIME_BYTES + ED25519_SIGNATURE_BYTES) return undefined;
      const time = Number(Buffer.from(signature.subarray(0, TIME_BYTES)).readBigUInt64BE());
      if (!Number.isSafeInteger(time)) return undefined;
      return verify(null, composeCosigned(body, time), key, signature.subarray(TIME_BYTES)) ? time : undefined;
    },
  };
}

/** Returns the message a cosigner signs: header and time line keep it apart from any other signature. */
function composeCosigned(body: string, timeSeconds: number): Buffer {
  return Buffer.from(`cosignature/v1\ntime ${timeSeconds}\n${body}`);
}

/** Whether a signature line says to be by this key; both name and id must match. */
export function isBy(signature: NoteSignature, key: { readonly name: string; readonly keyId: number }): boolean {
  return signature.keyId === key.keyId && signature.name === key.name;
}

/** A public key with the name and the type of signature it is good for. */
export interface VerifierKey {
  readonly name: string;
  readonly type: SignatureType;
  /** Raw Ed25519 key in base64. */
  readonly publicKey: string;
}

/** Composes the text form of a verifier key, `name+id+key` (C2SP signed-note, "Verifier keys"). */
export function composeVerifierKey({ name, type, publicKey }: VerifierKey): string {
  const { keyId } = composeKey(name, type, publicKey);
  const encoded = Buffer.concat([Buffer.from([TYPE_BYTES[type]]), Buffer.from(publicKey, 'base64')]).toString('base64');
  return `${name}+${keyId.toString(16).padStart(8, '0')}+${encoded}`;
}

/**
 * Parses the text form of a verifier key of either type.
 *
 * @throws {WartaError} `key-invalid`: another form or type, or the id is not that of name and key.
 */
export function parseVerifierKey(text: string): VerifierKey {
  const match = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text);
  const bytes = decodeBase64(match?.[3] ?? '');
  const type = (Object.keys(TYPE_BYTES) as SignatureType[]).find((one) => TYPE_BYTES[one] === bytes?.[0]);
  if (match === null || bytes?.length !== 1 + KEY_BYTES || type === undefined) {
    throw new WartaError('key-invalid', 'no verifier key: write name+id+key, as warta witness init prints it');
  }
  const publicKey = bytes.subarray(1).toString('base64');
  const { name, keyId } = composeKey(match[1], type, publicKey);
  if (keyId !== Number.parseInt(match[2], 16)) {
    throw new WartaError('key-invalid', `the id in the verifier key of ${name} is not that of its name and key`);
  }
  return { name, type, publicKey };
}

/** Names a key: its id is the start of SHA-256(name, newline, type, key) (C2SP signed-note, "Signatures"). */
function composeKey(name: string, type: SignatureType, publicKey: string): NoteKey {
  if (!KEY_NAME.test(name)) throw new WartaError('key-invalid', `${name} is no key name: no spaces, no plus sign`);
  const raw = Buffer.from(publicKey, 'base64');
  const named = Buffer.concat([Buffer.from(`${name}\n`), Buffer.from([TYPE_BYTES[type]]), raw]);
  return { name, keyId: hash('sha256', named, 'buffer').readUInt32BE(0), publicKey };
}

/** Returns the raw public key of a private key in base64. */
function rawKeyOf(privateKey: KeyObject): string {
  if (privateKey.asymmetricKeyType !== 'ed25519') throw new WartaError('key-invalid', 'a note is signed with Ed25519');
  return Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x!, 'base64url').toString('base64');
}

function importKey(publicKey: string): KeyObject {
  const raw = decodeBase64(publicKey);
  if (raw?.length !== KEY_BYTES) throw new WartaError('key-invalid', `${publicKey} is no Ed25519 key in base64`);
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: 'der', type: 'spki' });
}

/** Decodes base64 in its one canonical spelling; Node's own decoder skips what it does not know. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

function invalid(fault: string): WartaError {
  return new WartaError('note-invalid', `no signed note: ${fault}`);
}
