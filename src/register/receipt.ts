import { type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { describeError, WartaError } from '../base/errors.ts';
import { importPublicKey } from './authorities.ts';
import { composeCanonical, decodeUtf8, parseCanonical } from './canonical.ts';
import { composePreAuthentication } from './envelope.ts';
import { digest, instant, licenceNumber, parseWith, slug, text } from './fields.ts';
import type { PageCounts } from './pages.ts';
import type { Verdict } from './verify-statement.ts';

/** The payload type of a receipt's DSSE envelope: a receipt's signature is never taken for a statement's. */
export const RECEIPT_PAYLOAD_TYPE = 'application/vnd.warta.receipt+json';

/** Largest receipt file. */
export const RECEIPT_MAX_BYTES = 128 * 1024;

/** Most void statements a receipt lists; `statements.void` counts them all. */
export const MAX_REJECTED = 100;

/** Longest reason of a void statement in a receipt. */
const MAX_REASON_LENGTH = 200;
const MAX_NAME_LENGTH = 100;

/** Largest nodes.json read. */
export const NODES_MAX_BYTES = 16 * 1024 * 1024;

const MAX_NODES = 50_000;

const count = z.int().min(0);

const receiptSchema = z.strictObject({
  version: z.literal(1),
  /** The log's origin: a receipt of one register says nothing about another. */
  origin: text(200),
  licensee: licenceNumber,
  /** The node's own name, unique with its licensee. */
  node: slug,
  /** The checkpoint that was applied. `rootHash` is lower-case hexadecimal. */
  treeSize: count,
  rootHash: digest,
  authoritiesVersion: z.int().min(1),
  /** Rules in force, and the digest of the list they were compiled from. */
  rules: count,
  rulesDigest: digest,
  /** The time the list was folded for, and when the resolver began to use it. */
  foldedAt: instant,
  appliedAt: instant,
  mode: z.enum(['enforce', 'observe']),
  statements: z.strictObject({ ok: count, void: count }),
  rejected: z
    .array(z.strictObject({ statement: text(MAX_NAME_LENGTH), code: slug, reason: text(MAX_REASON_LENGTH) }))
    .max(MAX_REJECTED),
  /** Signed entries that the node's guard-rails refused. */
  refusedEntries: count,
  /**
   * Of the list's entries those that list a page, where there are any; those of them that hold on HTTP alone, as HTTPS to
   * their hosts passes; and whether the node sends these hosts to a gateway, without which none of them holds.
   */
  pages: z
    .strictObject({ entries: z.int().min(1), httpOnly: count, steered: z.boolean() })
    .refine(({ entries, httpOnly }) => httpOnly <= entries, 'httpOnly counts some of entries')
    .optional(),
});

/**
 * What a node says it applied. Proof of what the node *said*: an auditor recomputes `rulesDigest` from the log and finds a
 * node that said something else.
 */
export type Receipt = z.output<typeof receiptSchema>;

/** Standard base64 in its one canonical spelling, so that nobody makes a second receipt of one by spelling it otherwise. */
const base64 = z
  .string()
  .max(RECEIPT_MAX_BYTES)
  .refine((value) => Buffer.from(value, 'base64').toString('base64') === value, 'expected base64');

const envelopeSchema = z.strictObject({
  payloadType: z.literal(RECEIPT_PAYLOAD_TYPE),
  payload: base64,
  signatures: z.array(z.strictObject({ sig: base64 })).length(1),
});

/**
 * Returns the void statements as a receipt lists them: the first hundred, reasons cut short. A receipt is public, so the
 * reason of a faulty annex is left out: it may quote a name of a sealed one.
 */
export function describeRejected(verdicts: Iterable<Verdict>): Receipt['rejected'] {
  const rejected: Receipt['rejected'] = [];
  for (const { ok, name, code = 'statement-malformed', reason = code } of verdicts) {
    if (ok) continue;
    if (rejected.length === MAX_REJECTED) break;
    const told = code.startsWith('annex-') ? 'its annex cannot be used' : clip(reason, MAX_REASON_LENGTH);
    rejected.push({ statement: clip(name, MAX_NAME_LENGTH), code, reason: told });
  }
  return rejected;
}

/** Returns the start of a text in plain ASCII: a reason may quote anything, half a character of it included. */
function clip(value: string, length: number): string {
  return value.slice(0, length).replace(/[^\x20-\x7e]/g, '?');
}

/** Returns what a receipt says of a list's pages: nothing when it has none. */
export function describePages({ pages, httpOnlyPages }: PageCounts, steered: boolean): Pick<Receipt, 'pages'> {
  return pages === 0 ? {} : { pages: { entries: pages, httpOnly: httpOnlyPages, steered } };
}

/**
 * Composes the payload of a receipt: canonical JSON.
 *
 * @throws {WartaError} `receipt-invalid`, naming the key.
 */
export function composeReceipt(receipt: Receipt): Buffer {
  return composeCanonical(parseWith(receiptSchema, receipt, 'receipt-invalid', 'receipt'));
}

/** Signs a receipt with the node's Ed25519 key and returns the DSSE envelope. The same receipt gives the same bytes. */
export function signReceipt(receipt: Receipt, privateKey: KeyObject): Buffer {
  const payload = composeReceipt(receipt);
  const signature = sign(null, composePreAuthentication(RECEIPT_PAYLOAD_TYPE, payload), privateKey);
  return composeCanonical({
    payloadType: RECEIPT_PAYLOAD_TYPE,
    payload: payload.toString('base64'),
    signatures: [{ sig: signature.toString('base64') }],
  });
}

/** Finds the key a receipt must be signed with; `undefined` for a node that is not enrolled. */
export type FindNodeKey = (licensee: string, node: string) => KeyObject | undefined;

/**
 * Verifies a receipt as received and returns it. The key is that of the very licensee and node the receipt names, so no
 * node can speak for another.
 *
 * @throws {WartaError} `receipt-invalid` with what is wrong, `credential-invalid` for a node that is not enrolled (yet).
 */
export function verifyReceipt(bytes: Uint8Array, findKey: FindNodeKey): Receipt {
  const { payload, signature } = parseEnvelope(bytes);
  const receipt = parsePayload(payload);
  const key = findKey(receipt.licensee, receipt.node);
  if (key === undefined) {
    throw new WartaError('credential-invalid', `receipt: ${receipt.licensee}/${receipt.node} is not enrolled`);
  }
  if (!verify(null, composePreAuthentication(RECEIPT_PAYLOAD_TYPE, payload), key, signature)) {
    throw invalid(`the signature is not by the key of ${receipt.licensee}/${receipt.node}`);
  }
  return receipt;
}

/** Decodes the envelope; nothing in it but payload and signature is ever used. */
function parseEnvelope(bytes: Uint8Array): { payload: Buffer; signature: Buffer } {
  if (bytes.length > RECEIPT_MAX_BYTES) {
    throw invalid(`it has ${bytes.length} bytes, ${RECEIPT_MAX_BYTES} at most`);
  }
  let value: unknown;
  try {
    value = JSON.parse(decodeUtf8(bytes) ?? '');
  } catch {
    throw invalid('it is no JSON');
  }
  const { payload, signatures } = parseWith(envelopeSchema, value, 'receipt-invalid', 'receipt: no DSSE envelope');
  return { payload: Buffer.from(payload, 'base64'), signature: Buffer.from(signatures[0].sig, 'base64') };
}

/** Parses the payload, which must be canonical. */
function parsePayload(payload: Buffer): Receipt {
  let value: unknown;
  try {
    value = parseCanonical(payload);
  } catch (cause) {
    throw new WartaError('receipt-invalid', `receipt: ${describeError(cause)}`, { cause });
  }
  return parseWith(receiptSchema, value, 'receipt-invalid', 'receipt');
}

function invalid(reason: string): WartaError {
  return new WartaError('receipt-invalid', `receipt: ${reason}`);
}

/**
 * Returns where a receipt lies in the register's tree: `receipts/<licensee>/<node>/<appliedAt>-<treeSize>.json`, the time
 * without `-` and `:`. What a licence number has besides letters, digits, dots and hyphens is spelled `_28` by its code, so
 * that each number has one path and no number leads out of the folder.
 */
export function receiptPath(receipt: Pick<Receipt, 'licensee' | 'node' | 'appliedAt' | 'treeSize'>): string {
  const { licensee, node, appliedAt, treeSize } = receipt;
  const folder = licensee.replace(/[^A-Za-z0-9.-]/g, (character) => `_${character.charCodeAt(0).toString(16)}`);
  return `receipts/${folder}/${node}/${appliedAt.replace(/[-:]/g, '')}-${treeSize}.json`;
}

/** Returns the file that lists the paths of the receipts that arrived on a day (UTC, `2026-03-01`), one a line. */
export function receiptListPath(day: string): string {
  return `receipts/_days/${day}.txt`;
}

const nodesSchema = z
  .array(
    z.strictObject({
      licensee: licenceNumber,
      node: slug,
      publicKey: z.string().regex(/^[A-Za-z0-9+/]{43}=$/, 'expected a raw 32-byte Ed25519 key in base64'),
    }),
  )
  .max(MAX_NODES);

/** One enrolled node as nodes.json has it: `publicKey` is raw Ed25519 in base64. */
export type EnrolledNode = z.output<typeof nodesSchema>[number];

/** The enrolled nodes, ready to find keys in. */
export class NodeRegistry {
  readonly nodes: readonly EnrolledNode[];
  readonly #keys = new Map<string, KeyObject>();

  private constructor(nodes: readonly EnrolledNode[]) {
    this.nodes = nodes;
    for (const { licensee, node, publicKey } of nodes) {
      const name = `${licensee}/${node}`;
      if (this.#keys.has(name)) throw new WartaError('config-invalid', `nodes.json: ${name} is enrolled twice`);
      this.#keys.set(name, importPublicKey(publicKey, `nodes.json: ${name}`));
    }
  }

  /**
   * Parses nodes.json. It says whose receipts and credentials are whose and decides no rule.
   *
   * @throws {WartaError} `config-invalid` or `authorities-invalid` (a key that is none), naming the node.
   */
  static parse(json: string): NodeRegistry {
    let value: unknown;
    try {
      value = JSON.parse(json);
    } catch (cause) {
      throw new WartaError('config-invalid', 'nodes.json is not JSON', { cause });
    }
    return new NodeRegistry(parseWith(nodesSchema, value, 'config-invalid', 'nodes.json'));
  }

  /** Returns a node's key. A node's name holds no slash, so licensee and node never run into each other. */
  find(licensee: string, node: string): KeyObject | undefined {
    return this.#keys.get(`${licensee}/${node}`);
  }

  /** Returns the key of `licensee/node` in one piece, as a credential names its issuer. */
  findByName(name: string): KeyObject | undefined {
    return this.#keys.get(name);
  }

  /** Returns the text of nodes.json with this node in it, in place of an earlier key of the same node. */
  enrol(node: EnrolledNode): string {
    const others = this.nodes.filter((one) => one.licensee !== node.licensee || one.node !== node.node);
    const next = parseWith(nodesSchema, [...others, node], 'config-invalid', 'nodes.json');
    return `${JSON.stringify(next, null, 2)}\n`;
  }
}
