import { execFile } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { DirectoryStorage } from '../../src/log/directory-storage.ts';
import { hashLeaf, rootOf } from '../../src/log/merkle.ts';
import { composeVerifierKey, createVerifier, isBy, parseNote, parseVerifierKey } from '../../src/log/note.ts';
import { proveConsistency, proveInclusion } from '../../src/log/proof.ts';
import { Sequencer } from '../../src/log/sequencer.ts';
import { bundlePath, tilePath } from '../../src/log/tile.ts';
import { makeLeaves } from '../log/oracle.ts';
import { makeOptions, ORIGIN, POLICY, readLog } from '../log/test-log.ts';
import { makeFolder } from '../support/folders.ts';
import { hasProgram } from '../support/programs.ts';

/** Where Debian puts Go packages. */
const GO_PATH = '/usr/share/gocode';
const present = hasProgram('go') && existsSync(join(GO_PATH, 'src/golang.org/x/mod/sumdb/tlog'));

/** What the reader prints; see go-log-reader.go. */
interface Found {
  Origin: string;
  Size: number;
  Root: string;
  Leaves: number;
  Inclusion: string[];
  Consistency: string[];
  Cosigned: number;
  Note: string;
  NoteKey: string;
}

const COMPILE_MILLIS = 240_000;

/** Compiles the reader, offline: with Debian's packages alone. */
async function compileReader(): Promise<string> {
  const folder = makeFolder();
  copyFileSync(join(import.meta.dirname, 'go-log-reader.go'), join(folder, 'main.go'));
  const program = join(folder, 'reader');
  const environment = { GOPATH: GO_PATH, GO111MODULE: 'off', GOFLAGS: '', GOCACHE: join(folder, 'cache') };
  const { code, stderr } = await run('go', ['build', '-o', program, join(folder, 'main.go')], environment);
  if (code !== 0) throw new Error(`the Go reader does not compile: ${stderr}`);
  return program;
}

function run(command: string, args: readonly string[], environment: Record<string, string> = {}) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const options = { env: { ...process.env, ...environment }, timeout: COMPILE_MILLIS, maxBuffer: 1 << 26 };
    execFile(command, args, options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : 1, stdout, stderr }),
    );
  });
}

let reader: string;

beforeAll(async () => {
  if (present) reader = await compileReader();
}, COMPILE_MILLIS);

/** Our proofs, and what else is asked otherwise than it should be. */
interface Asked extends Record<string, unknown> {
  proofs?: ReturnType<GoLog['prove']>;
}

/** A log that grew to these sizes, with what is asked of the reader about it. */
class GoLog {
  readonly folder = makeFolder();
  readonly storage = new DirectoryStorage(this.folder);
  readonly leaves: readonly Buffer[];

  constructor(size: number) {
    this.leaves = makeLeaves(size);
  }

  async grow(sizes: readonly number[]): Promise<this> {
    const sequencer = await Sequencer.open(await makeOptions({ storage: this.storage }));
    for (const size of sizes) {
      await Promise.all(this.leaves.slice(sequencer.size, size).map((leaf) => sequencer.append(() => leaf)));
      await sequencer.flush();
    }
    await sequencer.close();
    return this;
  }

  rootAt(size: number): Buffer {
    return rootOf(this.leaves.slice(0, size).map((leaf) => hashLeaf(leaf)));
  }

  async prove(index: number, oldSize: number) {
    const read = async (path: string) => (await this.storage.read(path))!;
    const size = this.leaves.length;
    return {
      inclusion: (await proveInclusion(index, size, read)).map(encode),
      consistency: (await proveConsistency(oldSize, size, read)).map(encode),
    };
  }

  /** Has Go read the log, with our proofs. */
  async read(index: number, oldSize: number, { proofs = this.prove(index, oldSize), ...changed } = {} as Asked) {
    const { inclusion, consistency } = await proofs;
    const request = join(makeFolder(), 'request.json');
    const asked = {
      LogKey: composeVerifierKey({ name: ORIGIN, type: 'ed25519', publicKey: POLICY.publicKey }),
      WitnessName: POLICY.witnesses[0]!.name,
      WitnessKey: POLICY.witnesses[0]!.publicKey,
      Index: index,
      Inclusion: inclusion,
      OldSize: oldSize,
      OldRoot: encode(this.rootAt(oldSize)),
      Consistency: consistency,
    };
    writeFileSync(request, JSON.stringify({ ...asked, ...changed }));
    return run(reader, [this.folder, request]);
  }
}

const encode = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');

describe.skipIf(!present)("Go's sumdb/tlog and sumdb/note, an independent reader,", () => {
  it.each([
    { sizes: [1], index: 0, oldSize: 1 },
    { sizes: [3, 7], index: 5, oldSize: 3 },
    { sizes: [256], index: 255, oldSize: 100 },
    { sizes: [100, 257, 600, 1000], index: 700, oldSize: 257 },
    { sizes: [65_000, 66_000], index: 65_999, oldSize: 65_000 },
  ])('verifies a log that grew to $sizes: every tile, every leaf, both proofs', async ({ sizes, index, oldSize }) => {
    const log = await new GoLog(sizes.at(-1)!).grow(sizes);
    const { code, stdout, stderr } = await log.read(index, oldSize);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const found = JSON.parse(stdout) as Found;
    const size = log.leaves.length;
    expect(found).toMatchObject({ Origin: ORIGIN, Size: size, Root: encode(log.rootAt(size)), Leaves: size });
    expect(found.Cosigned).toBe((await readLog(log.storage))!.newestCosignatureSeconds);
    // Go makes the same proofs from our tiles as we do.
    const { inclusion, consistency } = await log.prove(index, oldSize);
    expect(found.Inclusion).toEqual(inclusion);
    expect(found.Consistency).toEqual(consistency);
  });

  it('signs a note that we verify', async () => {
    const log = await new GoLog(1).grow([1]);
    const found = JSON.parse((await log.read(0, 1)).stdout) as Found;
    const key = parseVerifierKey(found.NoteKey);
    const verifier = createVerifier(key.name, key.publicKey);
    const note = parseNote(Buffer.from(found.Note));
    expect(note.body).toContain('Signed by Go.');
    expect(note.signatures).toHaveLength(1);
    expect(isBy(note.signatures[0]!, verifier)).toBe(true);
    expect(verifier.verify(note.body, note.signatures[0]!.signature)).toBe(true);
  });

  describe('refuses', () => {
    const size = 600;
    let log: GoLog;

    beforeAll(async () => {
      log = await new GoLog(size).grow([300, size]);
    });

    /** The same log with one byte of a file changed. */
    const damage = (path: string, at: number): GoLog => {
      const copy = new GoLog(size);
      cpSync(log.folder, copy.folder, { recursive: true });
      const bytes = readFileSync(join(copy.folder, path));
      bytes[at]! ^= 1;
      writeFileSync(join(copy.folder, path), bytes);
      return copy;
    };

    it.each([
      // Debian's version does not hold this tile against the one above it; the leaf gives it away.
      ['a full tile', tilePath(0, 0), 100, /inconsistent tile|leaf 3 has the hash/],
      ['a partial tile', tilePath(0, 2, 88), 10, /inconsistent tile/],
      ['a tile one level up', tilePath(1, 0, 2), 40, /inconsistent tile/],
      ['a leaf', bundlePath(1), 5, /leaf \d+ has the hash/],
      ['the size', 'checkpoint', ORIGIN.length + 1, /the log's signature/],
    ])('a change in %s', async (_, path, at, message) => {
      const { code, stderr } = await damage(path, at).read(0, 300, { proofs: log.prove(0, 300) });
      expect(code).toBe(1);
      expect(stderr).toMatch(message);
    });

    it.each([
      ['an inclusion proof for another leaf', { Index: 1 }, /our inclusion proof/],
      ['a consistency proof for another root', { OldRoot: encode(hashLeaf(Buffer.of())) }, /our consistency proof/],
      ['a cosignature by another key', { WitnessKey: encode(Buffer.alloc(32, 1)) }, /the cosignature verifies/],
    ])('%s', async (_, changed, message) => {
      const { code, stderr } = await log.read(0, 300, changed);
      expect(code).toBe(1);
      expect(stderr).toMatch(message);
    });
  });
});
