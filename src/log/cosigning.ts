import { WartaError } from '../base/errors.ts';
import { type CosignatureVerifier, createCosignatureVerifier, isBy, type Note, type NoteSignature } from './note.ts';
import type { CosignRequest, WitnessClient } from './witness-client.ts';

/** Told of every witness that failed; the log goes on without it. */
export type OnFault = (error: WartaError) => void;

/** Collects and keeps the cosignatures of the log's current checkpoint. */
export class Cosigning {
  readonly #witnesses: readonly WitnessClient[];
  readonly #verifiers: ReadonlyMap<WitnessClient, CosignatureVerifier>;
  readonly #quorum: number;
  readonly #onFault: OnFault;
  /** The checkpoint that the cosignatures are for. */
  #body = '';
  readonly #kept = new Map<WitnessClient, NoteSignature>();

  /** `quorum`: how many cosignatures to wait for. */
  constructor(witnesses: readonly WitnessClient[], quorum: number, onFault: OnFault) {
    this.#witnesses = witnesses;
    this.#verifiers = new Map(witnesses.map((one) => [one, createCosignatureVerifier(one.name, one.publicKey)]));
    this.#quorum = quorum;
    this.#onFault = onFault;
  }

  /** The cosignatures of the current checkpoint, in the order of the witnesses. */
  get signatures(): NoteSignature[] {
    return this.#witnesses.flatMap((witness) => this.#kept.get(witness) ?? []);
  }

  /** Whether every witness has cosigned the current checkpoint. */
  get isComplete(): boolean {
    return this.#kept.size === this.#witnesses.length;
  }

  /** Takes up the cosignatures that a published note already has. */
  resume(note: Note): void {
    this.#turnTo(note.body);
    for (const [witness, verifier] of this.#verifiers) {
      const own = note.signatures.find((signature) => isBy(signature, verifier));
      if (own !== undefined) this.#keep(witness, note.body, own);
    }
  }

  /**
   * Asks the witnesses for cosignatures, all of them or those whose is missing. Waits until as many answered well as the
   * quorum needs, or until none is left to wait for. A cosignature that comes later is kept for the next time.
   */
  async collect(request: CosignRequest, { onlyMissing = false } = {}): Promise<void> {
    this.#turnTo(request.body);
    const asked = this.#witnesses.filter((witness) => !(onlyMissing && this.#kept.has(witness)));
    let needed = this.#quorum - (this.#witnesses.length - asked.length);
    await new Promise<void>((resolve) => {
      const answers = asked.map(async (witness) => {
        if (await this.#ask(witness, request)) needed--;
        if (needed <= 0) resolve();
      });
      Promise.all(answers).then(() => resolve());
    });
  }

  /** Asks one witness; returns whether it cosigned. */
  async #ask(witness: WitnessClient, request: CosignRequest): Promise<boolean> {
    try {
      this.#keep(witness, request.body, await witness.cosign(request));
      return true;
    } catch (cause) {
      const isCoded = cause instanceof WartaError;
      this.#onFault(isCoded ? cause : new WartaError('witness-failed', `witness ${witness.name} failed`, { cause }));
      return false;
    }
  }

  /** Keeps a cosignature that is good, unless the log has moved on. */
  #keep(witness: WitnessClient, body: string, signature: NoteSignature): void {
    const verifier = this.#verifiers.get(witness)!;
    if (!isBy(signature, verifier) || verifier.verify(body, signature.signature) === undefined) {
      throw new WartaError('witness-failed', `witness ${witness.name}: its cosignature does not verify`);
    }
    if (this.#body === body) this.#kept.set(witness, signature);
  }

  /** Forgets the cosignatures of an earlier checkpoint. */
  #turnTo(body: string): void {
    if (body === this.#body) return;
    this.#body = body;
    this.#kept.clear();
  }
}
