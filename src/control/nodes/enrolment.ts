import { WartaError } from '../../base/errors.ts';
import { hashHex } from '../../register/canonical.ts';
import type { EnrolmentCodeRecord, NodeRecord, Tables } from '../store.ts';
import { verifyEnrolmentProof } from './enrolment-proof.ts';

/** Longest life of an enrolment code. */
export const CODE_MAX_SECONDS = 7 * 86_400;

const CODE_BYTES = 24;

/** Most nodes that one ISP may have: each may make the register keep receipts. */
const NODES_MAX = 1000;

/** What an enrolment code is to be good for. */
export interface CodeTerms {
  readonly licensee: string;
  readonly node: string;
  readonly createdBy: string;
  readonly nowSeconds: number;
  readonly validSeconds: number;
}

/**
 * Makes a code that enrols one node once. It is shown once: only its hash is kept.
 *
 * @throws {WartaError} `not-found` for an ISP that is not listed, `conflict` when it has too many nodes.
 */
export async function createEnrolmentCode(
  tables: Tables,
  { licensee, node, createdBy, nowSeconds, validSeconds }: CodeTerms,
  random: (sizeBytes: number) => Uint8Array,
): Promise<{ code: string; record: EnrolmentCodeRecord }> {
  if ((await tables.licensees.get(licensee)) === undefined) {
    throw new WartaError('not-found', `there is no licensee ${licensee}: an administrator adds it first`);
  }
  if ((await tables.nodes.count({ licensee, revokedSeconds: null })) >= NODES_MAX) {
    throw new WartaError('conflict', `${licensee} has ${NODES_MAX} nodes: revoke those that are gone`);
  }
  const code = `enrol-${Buffer.from(random(CODE_BYTES)).toString('base64url')}`;
  const record: EnrolmentCodeRecord = {
    id: hashHex(Buffer.from(code)),
    licensee,
    node,
    createdBy,
    createdSeconds: nowSeconds,
    expiresSeconds: nowSeconds + Math.min(validSeconds, CODE_MAX_SECONDS),
    usedSeconds: null,
  };
  await tables.enrolmentCodes.insert(record);
  return { code, record };
}

/** What a node sends to be enrolled: raw Ed25519 key and signature in base64. */
export interface EnrolmentRequest {
  readonly code: string;
  readonly publicKey: string;
  readonly proof: string;
  /** What the node takes itself for, when it says so. */
  readonly licensee?: string;
  readonly node?: string;
}

/** A node as it was, if there was one, and as it is. */
export interface NodeChange {
  readonly before?: NodeRecord;
  readonly after: NodeRecord;
}

/**
 * Enrols the node that a code was made for, with the key it proves to have. A node that was enrolled before gets this key in
 * place of its old one.
 *
 * @throws {WartaError} `enrolment-invalid` for a code that is unknown, used or too old, a key of another node, or a proof
 *   that is none.
 */
export async function enrolNode(
  tables: Tables,
  { code, publicKey, proof, ...claimed }: EnrolmentRequest,
  nowSeconds: number,
): Promise<NodeChange> {
  const record = await tables.enrolmentCodes.get(hashHex(Buffer.from(code)));
  if (record === undefined || record.usedSeconds !== null || record.expiresSeconds <= nowSeconds) {
    throw new WartaError('enrolment-invalid', 'the code is unknown, used, or too old: ask the operator for a new one');
  }
  verifyEnrolmentProof(code, publicKey, proof);
  const { licensee, node, createdBy } = record;
  const id = `${licensee}/${node}`;
  if ((claimed.licensee ?? licensee) !== licensee || (claimed.node ?? node) !== node) {
    throw new WartaError('enrolment-invalid', `the code is for ${id}: put that into the node's configuration`);
  }
  const holders = await tables.nodes.list({ where: { publicKey, revokedSeconds: null }, limit: 2 });
  if (holders.some((one) => one.id !== id)) {
    throw new WartaError('enrolment-invalid', 'another node has this key: each needs its own');
  }
  await tables.enrolmentCodes.update(record.id, { usedSeconds: nowSeconds });
  const before = await tables.nodes.get(id);
  const changes = { publicKey, enrolledBy: createdBy, enrolledSeconds: nowSeconds, revokedSeconds: null };
  if (before !== undefined) return { before, after: await tables.nodes.update(id, changes) };
  const after: NodeRecord = { id, licensee, node, ...changes, version: 1 };
  await tables.nodes.insert(after);
  return { after };
}

/**
 * Revokes a node: its receipts and credentials count no more once the list of nodes is published.
 *
 * @throws {WartaError} `not-found`, `conflict` when it is revoked already, `version-mismatch`.
 */
export async function revokeNode(
  tables: Tables,
  id: string,
  nowSeconds: number,
  expectedVersion?: number,
): Promise<Required<NodeChange>> {
  const before = await tables.nodes.get(id);
  if (before === undefined) throw new WartaError('not-found', `there is no node ${id}`);
  if (before.revokedSeconds !== null) throw new WartaError('conflict', `${id} is revoked already`);
  return { before, after: await tables.nodes.update(id, { revokedSeconds: nowSeconds }, expectedVersion) };
}
