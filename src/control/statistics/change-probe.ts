import type { Tables } from '../store.ts';

/** Entries of the trail looked at together. */
const PAGE = 1000;

/**
 * Finds out whether anything in the store has changed, by the trail of changes, which grows with every one. Cheap: one look
 * at what came after the last entry that was seen.
 */
export class ChangeProbe {
  #last: number | undefined;

  /** Returns the number of the newest change; 0 when there was none. */
  async read({ audit }: Pick<Tables, 'audit'>): Promise<number> {
    this.#last ??= await findNewest(audit);
    for (;;) {
      const page = await audit.list({ afterSequence: this.#last, limit: PAGE });
      this.#last = Math.max(this.#last, page.at(-1)?.sequence ?? 0);
      if (page.length < PAGE) return this.#last;
    }
  }
}

/** Finds the newest entry in some forty looks, whatever the length of the trail. */
async function findNewest(audit: Tables['audit']): Promise<number> {
  const isBefore = async (sequence: number) => (await audit.list({ afterSequence: sequence, limit: 1 })).length > 0;
  if (!(await isBefore(0))) return 0;
  let low = 0;
  let high = 1;
  while (await isBefore(high)) {
    low = high;
    high *= 2;
  }
  while (low + 1 < high) {
    const middle = Math.floor((low + high) / 2);
    if (await isBefore(middle)) low = middle;
    else high = middle;
  }
  return high;
}
