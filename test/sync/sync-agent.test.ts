import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import type { AnnexWanted, SourceReading, StatementSource } from '../../src/sync/statement-source.ts';
import { SyncAgent } from '../../src/sync/sync-agent.ts';
import { authoritiesFile, common, day, LICENSEE, NOW, TestRegister } from '../register/fixture.ts';

const TERMS = {
  licensee: LICENSEE,
  anchor: '',
  pack: readFileSync(new URL('../../policies/my-cma1998.yaml', import.meta.url)),
  answer: { soaMname: 'warta.invalid', soaRname: 'hostmaster.warta.invalid', operator: 'Test', language: 'en' },
};

/** A source whose annexes are elsewhere, and cannot be had the first few times. */
class SlowSource implements StatementSource {
  readonly register = new TestRegister();
  readonly #fetched = new Set<string>();
  /** What fetching fails with, one after the other; then it succeeds. */
  readonly failures: WartaError[] = [];
  fetches = 0;

  async poll(): Promise<void> {}

  read(): SourceReading {
    return {
      authorities: JSON.stringify(authoritiesFile),
      leaves: this.register.leaves.map((leaf) => ({ ...leaf, key: leaf.name })),
      leafCount: this.register.leaves.length,
      annexes: { read: (digest) => (this.#fetched.has(digest) ? this.register.read(digest) : undefined) },
      fingerprint: String(this.register.leaves.length),
    };
  }

  async fetchAnnexes(wanted: readonly AnnexWanted[], verify: (annex: AnnexWanted, bytes: Uint8Array) => void) {
    if (wanted.length === 0) return;
    this.fetches++;
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    for (const annex of wanted) {
      verify(annex, this.register.read(annex.digest)!);
      this.#fetched.add(annex.digest);
    }
  }
}

describe('a cycle whose annexes cannot be kept', () => {
  const full = () => new WartaError('store-failed', 'the disk is full');

  /** So many that annexes are asked for while signatures are verified. */
  const HEARTBEATS = 3_000;

  it.each([1, 2, 3])('%d times looks for them again, though nothing is new', async (times) => {
    const source = new SlowSource();
    source.register.notice(['a.example']);
    const heartbeat = { type: 'heartbeat', ...common('H'), at: day(0) };
    source.register.add(heartbeat, ['one']);
    const { envelope } = source.register.leaves[1];
    // All one statement: signing so many takes long, and each is verified all the same.
    for (let i = 0; i < HEARTBEATS; i++) source.register.leaves.push({ name: `again-${i}`, envelope });
    source.failures.push(...Array.from({ length: times }, full));
    const agent = new SyncAgent(source);
    const cycle = () => agent.cycle(TERMS, 'terms', NOW);
    const first = await cycle();
    expect(first.failure).toMatchObject({ code: 'store-failed' });
    for (let again = 0; again < times; again++) await cycle();
    expect(agent.last!.rules).toBe(1);
    expect(source.fetches).toBe(times + 1);
    expect(await cycle()).toEqual({ failure: undefined });
  });
});
