import { z } from 'zod';
import { describeError, WartaError } from '../base/errors.ts';
import { type OpenedCheckpoint, openCheckpoint } from '../log/checkpoint.ts';
import { hashLeaf, verifyInclusion } from '../log/merkle.ts';
import type { EntryTable } from '../register/annex.ts';
import { type Authorities, parseAuthorities } from '../register/authorities.ts';
import { composeCanonical, decodeUtf8, hashHex, isCanonical } from '../register/canonical.ts';
import { isBelow } from '../register/entry-name.ts';
import { canonicalName, digest, instant, licenceNumber, parseWith } from '../register/fields.ts';
import { exclusionsOf, fold, type Window, windowsOf } from '../register/fold.ts';
import { createGuard } from '../register/guard.ts';
import { parseLeaf } from '../register/leaf.ts';
import { type Pack, parsePack } from '../register/pack.ts';
import { reachOf } from '../register/statement.ts';
import { formatInstant, secondsOf } from '../register/time.ts';
import {
  checkStatement,
  checkTargets,
  isChange,
  isNotice,
  type KnownNotice,
  type KnownStatement,
} from '../register/verify-statement.ts';
import { loadTrust, type TrustReading } from '../trust/client.ts';
import { openEntry, proofText, proveEntry, provenEntrySchema } from './annex-entry.ts';
import type { AuditRegister } from './audit-register.ts';
import { Effects } from './effects.ts';
import type { Coverage } from './explain-name.ts';
import { proveAmong } from './inclusion.ts';
import { windowAt } from './replay.ts';
import { SealedEntries } from './sealed-entries.ts';

/** Largest proof file. */
export const PROOF_MAX_BYTES = 64 * 1024 * 1024;

/** Most statements one proof holds. */
const MAX_STATEMENTS = 10_000;

/** The parts of a proof. All texts are the very bytes that were signed or hashed. */
const contentSchema = z.strictObject({
  kind: z.literal('warta-name-proof'),
  version: z.literal(1),
  name: canonicalName,
  licensee: licenceNumber,
  /** The time at which the name is blocked. */
  at: instant,
  /** Id of the notice that blocks it, and the entry of its annex. */
  notice: digest,
  entry: provenEntrySchema,
  /** The notice and every statement that bears on it, each with its place in the log. */
  statements: z
    .array(z.strictObject({ index: z.int().min(0), leaf: z.string(), proof: proofText }))
    .min(1)
    .max(MAX_STATEMENTS),
  /** The signed head of the log. */
  checkpoint: z.string(),
  /** Every file of the TUF repository from the pinned root on. */
  trust: z.record(z.string().max(200), z.string()),
  /** The policy pack that the authorities pin. */
  pack: z.string(),
});

const proofSchema = z.strictObject({ ...contentSchema.shape, sha256: digest });

type ProofContent = z.output<typeof contentSchema>;

/** A blocked name and why, as proven by a file alone. */
export interface ProvenName {
  readonly name: string;
  readonly licensee: string;
  readonly atSeconds: number;
  readonly notice: KnownNotice;
  /** A table of the one entry. */
  readonly entry: EntryTable;
  readonly window: Window;
  /** Position of the notice in the log. */
  readonly index: number;
  /** The other statements that bear on it. */
  readonly others: readonly KnownStatement[];
  readonly authorities: Authorities;
  readonly trust: TrustReading;
  readonly opened: OpenedCheckpoint;
}

/** For whom and when a proof is made. */
export interface ProofTerms {
  readonly name: string;
  readonly licensee: string;
  readonly atSeconds: number;
}

/**
 * Makes the proof that a name is blocked: all that it rests on down to the signed head of the log, so that it can be
 * checked with the pinned root alone. It proves what ordered the block and that nothing in it lifts it; that nothing
 * else in the log does is what a replay shows.
 *
 * @throws {WartaError} `annex-missing` when the notice is sealed and its annex is not at hand.
 */
export function composeNameProof(register: AuditRegister, coverage: Coverage, terms: ProofTerms): Buffer {
  const { archive, pinned } = register;
  const { notice, at } = coverage;
  const { annex } = notice.statement;
  const bytes = archive.annexes.read(annex.digest, annex.sizeBytes);
  if (bytes === undefined) throw new WartaError('annex-missing', `no annex ${annex.digest}: give --annexes`);
  const content: ProofContent = {
    kind: 'warta-name-proof',
    version: 1,
    name: terms.name,
    licensee: terms.licensee,
    at: formatInstant(terms.atSeconds),
    notice: notice.id,
    entry: proveEntry(bytes, { ...annex, endSeconds: notice.endSeconds }, at),
    statements: proveStatements(register, collectStatements(register, notice, terms)),
    checkpoint: Buffer.from(archive.note).toString(),
    trust: Object.fromEntries([...archive.trust.files].map(([name, file]) => [name, file.toString()])),
    pack: Buffer.from(pinned.bytes).toString(),
  };
  return composeCanonical({ ...content, sha256: hashHex(composeCanonical(content)) });
}

/** Returns a notice, what bears on it, and what these name in turn, in the log's order. */
function collectStatements(register: AuditRegister, notice: KnownNotice, terms: ProofTerms): KnownStatement[] {
  const { statements } = register.read({ size: register.sizeAt(terms.atSeconds), rulesOnly: true });
  const byId = new Map(statements.map((statement) => [statement.id, statement]));
  const effects = new Effects(statements, terms.licensee, terms.atSeconds);
  const collected = new Set<KnownStatement>();
  const queue: KnownStatement[] = [notice, ...effects.bearingOn(notice)];
  for (const statement of queue) {
    if (collected.has(statement)) continue;
    collected.add(statement);
    for (const id of namedBy(statement)) if (byId.has(id)) queue.push(byId.get(id)!);
  }
  return [...collected].sort((one, other) => register.indexOf(one.name) - register.indexOf(other.name));
}

/** Returns the ids that a statement names, which must be known for it to count. */
function namedBy(known: KnownStatement): readonly string[] {
  if (isNotice(known)) return known.statement.supersedes ?? [];
  if (!isChange(known)) return [];
  if (known.statement.type === 'resumption') return [known.statement.target];
  const notice = reachOf(known.statement)?.notice;
  return notice === undefined ? [] : [notice];
}

function proveStatements(register: AuditRegister, statements: readonly KnownStatement[]): ProofContent['statements'] {
  const { archive, size } = register;
  const hashes = Buffer.concat(Array.from({ length: size }, (_, index) => hashLeaf(archive.leaf(index))));
  return statements.map(({ name }) => {
    const index = register.indexOf(name);
    const proof = proveAmong(Buffer.from(hashes), index).map((hash) => hash.toString('hex'));
    return { index, leaf: Buffer.from(archive.leaf(index)).toString(), proof };
  });
}

/**
 * Checks a proof with the pinned root alone: trust from that root on, the log's head and its witnesses, the place of
 * every statement in the log, their signatures, the entry in the annex, and that the entry is in force and covers the
 * name.
 *
 * @throws {WartaError} `proof-invalid`, with the link of the chain that does not hold.
 */
export function checkNameProof(bytes: Uint8Array, pinnedRoot: Uint8Array): ProvenName {
  try {
    return check(parseProof(bytes), pinnedRoot);
  } catch (cause) {
    if (!(cause instanceof WartaError)) throw cause;
    if (cause.code === 'proof-invalid') throw cause;
    throw invalid(describeError(cause), cause);
  }
}

/** Parses a proof, which must be byte for byte as it was written. */
function parseProof(bytes: Uint8Array): ProofContent {
  if (bytes.length > PROOF_MAX_BYTES) throw invalid(`the file has ${bytes.length} bytes`);
  const source = decodeUtf8(bytes) ?? '';
  let value: unknown;
  try {
    value = JSON.parse(source);
  } catch (cause) {
    throw invalid('it is no JSON', cause);
  }
  const { sha256, ...content } = parseWith(proofSchema, value, 'proof-invalid', 'proof');
  if (!isCanonical(value, source) || hashHex(composeCanonical(content)) !== sha256) {
    throw invalid('it was changed or damaged since it was written');
  }
  return content;
}

function check(content: ProofContent, pinnedRoot: Uint8Array): ProvenName {
  const files = new Map(Object.entries(content.trust).map(([name, file]) => [name, Buffer.from(file)]));
  const trust = loadTrust({ pinnedRoot, files });
  // Nothing may travel along that nobody verified.
  const same =
    files.size === trust.files.size && [...trust.files].every(([name, file]) => files.get(name)?.equals(file));
  if (!same) throw invalid('its trust files are not exactly those that follow from the pinned root');
  const { pack, sha256 } = parsePack(content.pack);
  const authorities = parseAuthorities(trust.authorities, sha256);
  const opened = openHead(content.checkpoint, authorities);
  const statements = content.statements.map((one) => openStatement(one, opened, authorities, pack));
  const notice = statements.find((one): one is KnownNotice => one.id === content.notice && isNotice(one));
  if (notice === undefined) throw invalid('its notice is not among its statements');
  const byId = new Map(statements.map((statement) => [statement.id, statement]));
  for (const statement of statements) checkTargets(statement, (id) => byId.get(id));
  const { digest: annex, entries } = notice.statement.annex;
  const entry = openEntry(content.entry, { digest: annex, entries, endSeconds: notice.endSeconds });
  const atSeconds = secondsOf(content.at);
  const window = requireBlocked(content, notice, entry, statements, pack);
  const others = statements.filter((one) => one !== notice);
  const { name, licensee } = content;
  const index = content.statements[statements.indexOf(notice)]!.index;
  return { name, licensee, atSeconds, notice, entry, window, index, others, authorities, trust, opened };
}

/** Opens the log's head as the authorities ask for it. */
function openHead(checkpoint: string, { file }: Authorities): OpenedCheckpoint {
  if (file.log === undefined) throw invalid('its authorities name no log');
  const policy = { ...file.log, witnesses: file.witnesses ?? [], quorum: file.quorum ?? 0 };
  const opened = openCheckpoint(Buffer.from(checkpoint), policy);
  if (!opened.witnessed) {
    throw invalid(`${opened.cosignatures.length} of ${policy.quorum} witnesses signed its checkpoint`);
  }
  return opened;
}

/** Verifies a statement: its place in the log, its signatures, its scope. */
function openStatement(
  { index, leaf, proof }: ProofContent['statements'][number],
  { checkpoint }: OpenedCheckpoint,
  authorities: Authorities,
  pack: Pack,
): KnownStatement {
  const bytes = Buffer.from(leaf);
  const path = proof.map((hash) => Buffer.from(hash, 'hex'));
  verifyInclusion(hashLeaf(bytes), index, checkpoint.size, path, checkpoint.root);
  const { envelope, integratedAtSeconds } = parseLeaf(bytes);
  return checkStatement({ name: `#${index}`, envelope, integratedAtSeconds }, { authorities, pack });
}

/** Requires that the entry is in force for the licensee at the time and covers the name; returns its window. */
function requireBlocked(
  { name, licensee, at }: ProofContent,
  notice: KnownNotice,
  entry: EntryTable,
  statements: readonly KnownStatement[],
  pack: Pack,
): Window {
  const [apex, scope] = [entry.name(0), entry.scope(0)];
  // A page says nothing of the name.
  const covers = (name === apex && scope !== 'url') || (scope === 'subtree' && isBelow(name, apex));
  if (!covers) throw invalid(`the entry is about ${apex}, not about ${name}`);
  const refusal = createGuard(pack)(apex, scope, notice.statement.approvals.length);
  if (refusal !== undefined) throw invalid(`no node makes a rule of the entry: ${refusal}`);
  const given = statements.map((one) => {
    if (one === notice) return { ...one, entries: entry };
    return isNotice(one) ? { ...one, entries: new SealedEntries([]) } : one;
  });
  const atSeconds = secondsOf(at);
  const folded = fold(given, licensee, atSeconds).find((one) => one.notice.id === notice.id);
  const window = folded && windowAt(windowsOf(folded, 0), atSeconds);
  if (folded === undefined || window === undefined) throw invalid(`the entry is not in force for ${licensee} at ${at}`);
  const exclusion = exclusionsOf(folded, 0).find(
    (one) => one.fromSeconds <= atSeconds && (name === one.name || isBelow(name, one.name)),
  );
  if (exclusion !== undefined) throw invalid(`${exclusion.name} stays reachable, and so does ${name}`);
  return window;
}

function invalid(reason: string, cause?: unknown): WartaError {
  return new WartaError('proof-invalid', `the proof does not hold: ${reason}`, { cause });
}
