import { type KeyObject, verify } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WartaError } from '../base/errors.ts';
import { type EntryTable, parseAnnex } from '../register/annex.ts';
import { type Authorities, importPublicKey } from '../register/authorities.ts';
import { hashHex, parseCanonical } from '../register/canonical.ts';
import { composePreAuthentication, PAYLOAD_TYPE, parseEnvelope } from '../register/envelope.ts';
import { parseWith } from '../register/fields.ts';
import { type Notice, STATEMENT_MAX_BYTES, type Statement, statementSchema } from '../register/statement.ts';
import { NO_END_SECONDS, secondsOf } from '../register/time.ts';
import type { AnnexSource } from '../register/verify-statement.ts';
import { ANNEXES_FOLDER } from '../sync/directory-source.ts';
import { readInput } from './output.ts';

/** A statement in a file: an envelope, or the payload before anyone signed it. */
export interface StatementFile {
  readonly path: string;
  /** Lower-case hexadecimal SHA-256 of the payload: what other statements name it by. */
  readonly id: string;
  readonly statement: Statement;
  readonly payload: Buffer;
  /** The whole file when it is an envelope. */
  readonly envelope?: Buffer;
}

/**
 * Opens an envelope or a payload and checks its form. Who signed and whether they may is not judged here.
 *
 * @throws {WartaError} `store-failed`, or one of the `statement-` codes.
 */
export function openStatement(path: string): StatementFile {
  const bytes = readInput(path, STATEMENT_MAX_BYTES + 1);
  const isEnvelope = hasPayloadType(bytes, path);
  const payload = isEnvelope ? parseEnvelope(bytes).payload : bytes;
  const statement = parseWith(statementSchema, parseCanonical(payload), 'statement-malformed', 'statement');
  return { path, id: hashHex(payload), statement, payload, envelope: isEnvelope ? bytes : undefined };
}

/** Whether a file is an envelope, by the one key that every envelope has and no statement may have. */
function hasPayloadType(bytes: Buffer, path: string): boolean {
  if (bytes.length > STATEMENT_MAX_BYTES) {
    throw new WartaError('statement-oversized', `${path} has more than ${STATEMENT_MAX_BYTES} bytes: no statement has`);
  }
  try {
    return Object.hasOwn(JSON.parse(bytes.toString()), 'payloadType');
  } catch (cause) {
    throw new WartaError(
      'statement-malformed',
      `${path} is neither an envelope nor a payload: compose one from a draft with warta notice draft`,
      { cause },
    );
  }
}

/** Annexes in any of these folders, the first one first. */
export function annexesIn(folders: readonly string[]): AnnexSource {
  return {
    read(digest, maxBytes) {
      const path = folders.map((folder) => join(folder, `${digest}.jsonl`)).find(existsSync);
      return path === undefined ? undefined : readInput(path, maxBytes + 1);
    },
  };
}

/** The folders in which the annexes of a statement file lie: beside it, or beside its folder as in a register. */
export function annexFoldersOf(path: string): string[] {
  const folder = dirname(path);
  return [join(folder, ANNEXES_FOLDER), join(folder, '..', ANNEXES_FOLDER), folder];
}

/**
 * Reads and verifies a notice's annex; `undefined` when no folder has it.
 *
 * @throws {WartaError} one of the `annex-` codes when it is not the one the notice names.
 */
export function findEntries(notice: Notice, annexes: AnnexSource): EntryTable | undefined {
  const { annex, term } = notice;
  const bytes = annexes.read(annex.digest, annex.sizeBytes);
  const endSeconds = 'expires' in term ? secondsOf(term.expires) : NO_END_SECONDS;
  return bytes === undefined ? undefined : parseAnnex(bytes, { ...annex, endSeconds });
}

/** A signature of an envelope: the label it carries and whose it is. */
export interface SignatureNote {
  readonly keyId: string;
  /** `authority/officer` of authorities.json whose key made it; absent when nobody's there did. */
  readonly officer?: string;
  /** Whether it is by the key that its label spells out; absent when the label is no key. */
  readonly byLabelledKey?: boolean;
}

/** Lists the signatures of an envelope. Says who signed, not whether they may: that is for `readRegister`. */
export function listSignatures(file: StatementFile, authorities?: Authorities): SignatureNote[] {
  if (file.envelope === undefined) return [];
  const { signatures } = JSON.parse(file.envelope.toString()) as { signatures: { keyid?: string; sig: string }[] };
  const message = composePreAuthentication(PAYLOAD_TYPE, file.payload);
  const isBy = (key: KeyObject, sig: string) => verify(null, message, key, Buffer.from(sig, 'base64'));
  const officers = [...(authorities?.byId.values() ?? [])].flatMap((authority) =>
    authority.officers.map((officer) => ({ id: `${authority.id}/${officer.id}`, key: officer.key })),
  );
  return signatures.map(({ keyid = '', sig }) => {
    const labelled = keyOfLabel(keyid);
    return {
      keyId: keyid,
      officer: officers.find(({ key }) => isBy(key, sig))?.id,
      byLabelledKey: labelled === undefined ? undefined : isBy(labelled, sig),
    };
  });
}

/** Returns the public key a label spells out, as `warta notice sign` writes it. */
function keyOfLabel(label: string): KeyObject | undefined {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(label)) return undefined;
  try {
    return importPublicKey(label, 'key id');
  } catch {
    return undefined;
  }
}
