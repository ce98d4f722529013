import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CompactRange,
  EMPTY_ROOT,
  hashLeaf,
  hashNode,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from '../../src/log/merkle.ts';
import { makeLeaves, naivePath, naiveProof, naiveRoot } from './oracle.ts';

const VECTORS = new URL('../../../shared/vectors/merkle/', import.meta.url);
const present = existsSync(VECTORS);

interface InclusionCase {
  name: string;
  leafIdx: number;
  treeSize: number;
  root: string;
  leafHash: string;
  proof: string[] | null;
  wantErr: boolean;
}

interface ConsistencyCase {
  name: string;
  size1: number;
  size2: number;
  root1: string;
  root2: string;
  proof: string[] | null;
  wantErr: boolean;
}

const readCases = <T>(file: string): T[] =>
  present
    ? readFileSync(new URL(file, VECTORS), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as T)
    : [];

const decode = (text: string) => Buffer.from(text, 'base64');
const decodeAll = (texts: string[] | null) => (texts ?? []).map(decode);

/** Whether a verification passes; anything but the refusal it is documented to throw fails the test. */
function passes(verify: () => void): boolean {
  try {
    verify();
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: 'log-invalid' });
    return false;
  }
}

// The cases with tree size 0 are included: nothing is proven from or in an empty tree here, as in the library they are from.
describe.skipIf(!present)('RFC 6962 proof vectors', () => {
  const inclusion = readCases<InclusionCase>('inclusion.jsonl');
  const consistency = readCases<ConsistencyCase>('consistency.jsonl');

  it('are 98 of each kind, good and bad ones', () => {
    expect([inclusion.length, consistency.length]).toEqual([98, 98]);
    for (const cases of [inclusion, consistency]) expect(new Set(cases.map((one) => one.wantErr)).size).toBe(2);
  });

  it.each(inclusion)('$name', ({ leafIdx, treeSize, root, leafHash, proof, wantErr }) => {
    const good = passes(() => verifyInclusion(decode(leafHash), leafIdx, treeSize, decodeAll(proof), decode(root)));
    expect(good).toBe(!wantErr);
  });

  it.each(consistency)('$name', ({ size1, size2, root1, root2, proof, wantErr }) => {
    const good = passes(() => verifyConsistency(size1, size2, decode(root1), decode(root2), decodeAll(proof)));
    expect(good).toBe(!wantErr);
  });
});

const leaves = makeLeaves(70);
const hashes = leaves.map((leaf) => hashLeaf(leaf));
const roots = Array.from({ length: leaves.length + 1 }, (_, size) => naiveRoot(leaves.slice(0, size)));

/** Two sizes in order, the smaller above zero. */
const twoSizes = fc
  .tuple(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 70 }))
  .map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]);

/** A leaf and a tree that has it. */
const leafInTree = fc
  .integer({ min: 1, max: 70 })
  .chain((size) => fc.tuple(fc.integer({ min: 0, max: size - 1 }), fc.constant(size)));

describe('hashing', () => {
  it('gives the empty tree the hash of nothing', () => {
    expect(EMPTY_ROOT.toString('hex')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(rootOf([])).toEqual(EMPTY_ROOT);
  });

  it('agrees with RFC 6962 for every size', () => {
    for (const [size, root] of roots.entries()) expect(rootOf(hashes.slice(0, size))).toEqual(root);
  });

  it('keeps leaves and nodes apart', () => {
    const [left, right] = [hashes[0]!, hashes[1]!];
    expect(hashLeaf(Buffer.concat([left, right]))).not.toEqual(hashNode(left, right));
  });
});

describe('CompactRange', () => {
  it('goes on from what was kept, at every size', () => {
    for (let size = 0; size <= leaves.length; size++) {
      const kept = CompactRange.empty();
      for (const hash of hashes.slice(0, size)) kept.append(hash);
      const range = new CompactRange(kept.size, kept.hashes);
      for (const hash of hashes.slice(size)) range.append(hash);
      expect(range.root()).toEqual(roots.at(-1));
      expect(kept.root()).toEqual(roots[size]);
    }
  });

  it('is not changed through its clone', () => {
    const range = new CompactRange(1, [hashes[0]!]);
    range.clone().append(hashes[1]!);
    expect(range.root()).toEqual(roots[1]);
  });

  it('counts past 2^32', () => {
    const size = 2 ** 40 + 1;
    const range = new CompactRange(size, [hashes[0]!, hashes[1]!]);
    range.append(hashes[2]!);
    expect(range.size).toBe(size + 1);
    expect(range.hashes).toEqual([hashes[0], hashNode(hashes[1]!, hashes[2]!)]);
  });

  it.each([
    ['too few hashes', 3, hashes.slice(0, 1)],
    ['too many hashes', 2, hashes.slice(0, 2)],
    ['a hash cut short', 1, [hashes[0]!.subarray(1)]],
    ['a size below zero', -1, []],
    ['a size that is no whole number', 1.5, hashes.slice(0, 1)],
    ['a size that numbers cannot hold', 2 ** 53, hashes.slice(0, 1)],
  ])('refuses %s', (_, size, frontier) => {
    expect(() => new CompactRange(size, frontier)).toThrow(expect.objectContaining({ code: 'log-invalid' }));
  });
});

describe('verifyInclusion', () => {
  it('accepts the proofs of RFC 6962', () => {
    fc.assert(
      fc.property(leafInTree, ([index, size]) => {
        verifyInclusion(hashes[index]!, index, size, naivePath(index, leaves.slice(0, size)), roots[size]!);
      }),
    );
  });

  it('refuses them for any other leaf, index, size or root', () => {
    fc.assert(
      fc.property(leafInTree, fc.integer({ min: 0, max: 69 }), ([index, size], other) => {
        const proof = naivePath(index, leaves.slice(0, size));
        if (other !== index) {
          expect(passes(() => verifyInclusion(hashes[other]!, index, size, proof, roots[size]!))).toBe(false);
          expect(passes(() => verifyInclusion(hashes[index]!, other, size, proof, roots[size]!))).toBe(false);
        }
        if (other !== size) {
          expect(passes(() => verifyInclusion(hashes[index]!, index, size, proof, roots[other]!))).toBe(false);
        }
      }),
    );
  });

  it('refuses a proof with a hash changed, dropped, doubled or cut', () => {
    fc.assert(
      fc.property(leafInTree, fc.nat(), ([index, size], seed) => {
        const proof = naivePath(index, leaves.slice(0, size));
        for (const wrong of spoil(proof, seed)) {
          expect(passes(() => verifyInclusion(hashes[index]!, index, size, wrong, roots[size]!))).toBe(false);
        }
      }),
    );
  });
});

describe('verifyConsistency', () => {
  it('accepts the proofs of RFC 6962, and none for the same tree', () => {
    fc.assert(
      fc.property(twoSizes, ([size1, size2]) => {
        const proof = naiveProof(size1, leaves.slice(0, size2));
        verifyConsistency(size1, size2, roots[size1]!, roots[size2]!, proof);
      }),
    );
  });

  it('refuses them for any other size or root', () => {
    fc.assert(
      fc.property(twoSizes, fc.integer({ min: 1, max: 70 }), ([size1, size2], other) => {
        const proof = naiveProof(size1, leaves.slice(0, size2));
        const check = (...[a, b, c, d]: [number, number, number, number]) =>
          passes(() => verifyConsistency(a, b, roots[c]!, roots[d]!, proof));
        if (other !== size1) expect(check(size1, size2, other, size2)).toBe(false);
        if (other !== size2) expect(check(size1, size2, size1, other)).toBe(false);
        if (size1 < size2) expect(check(size2, size1, size2, size1)).toBe(false);
      }),
    );
  });

  it('refuses a proof with a hash changed, dropped, doubled or cut', () => {
    fc.assert(
      fc.property(twoSizes, fc.nat(), ([size1, size2], seed) => {
        const proof = naiveProof(size1, leaves.slice(0, size2));
        for (const wrong of spoil(proof, seed)) {
          expect(passes(() => verifyConsistency(size1, size2, roots[size1]!, roots[size2]!, wrong))).toBe(false);
        }
      }),
    );
  });

  it('refuses a history that was rewritten', () => {
    fc.assert(
      fc.property(twoSizes, fc.nat(), ([size1, size2], seed) => {
        const forged = leaves.slice(0, size2);
        forged[seed % size1] = Buffer.from('forged');
        const proof = size1 === size2 ? [] : naiveProof(size1, forged);
        expect(passes(() => verifyConsistency(size1, size2, roots[size1]!, naiveRoot(forged), proof))).toBe(false);
      }),
    );
  });

  it('proves nothing from the empty tree', () => {
    expect(passes(() => verifyConsistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, []))).toBe(false);
    expect(passes(() => verifyConsistency(0, 5, EMPTY_ROOT, roots[5]!, []))).toBe(false);
  });
});

/** Proofs with one fault each. */
function spoil(proof: readonly Buffer[], seed: number): Buffer[][] {
  const at = seed % (proof.length + 1);
  const longer = proof.toSpliced(at, 0, hashes[0]!);
  if (proof.length === 0) return [longer];
  const changed = Buffer.from(proof[at % proof.length]!);
  changed[seed % changed.length]! ^= 1;
  return [
    longer,
    proof.toSpliced(at % proof.length, 1, changed),
    proof.toSpliced(at % proof.length, 1, changed.subarray(1)),
    proof.toSpliced(at % proof.length, 1),
  ];
}
