import { EntryTable, type Scope } from '../register/annex.ts';

/** Stands for a name that is not at hand. */
export const SEALED_NAME = '(sealed)';

/**
 * Stands in for the entries of a sealed notice whose annex is not at hand: none can be listed, but those that public
 * statements name by id can be told apart. So the notice folds, and its list has the same digest, as where the annex
 * is.
 */
export class SealedEntries extends EntryTable {
  readonly #ids: readonly string[];

  /** `ids` are the entries that statements name. */
  constructor(ids: Iterable<string>) {
    super(0, 0);
    // An annex has its entries in ascending order of id, and digests follow it.
    this.#ids = [...new Set(ids)].sort();
  }

  override id(at: number): string {
    return this.#ids[at]!;
  }

  override name(): string {
    return SEALED_NAME;
  }

  override scope(): Scope {
    return 'exact';
  }

  override expiresSeconds(): number {
    return 0xffffffff;
  }

  override indexOf(id: string): number {
    return this.#ids.indexOf(id);
  }
}
