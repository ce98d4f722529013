import type { Collection, ListQuery } from '../store.ts';

const PAGE = 1000;

/** Lists every record that a query finds, in pages. For what is bounded by its nature, such as the nodes of all ISPs. */
export async function listAll<R extends { id: string }>(
  collection: Pick<Collection<R>, 'list'>,
  query: Omit<ListQuery<R>, 'after' | 'limit'> = {},
): Promise<R[]> {
  const all: R[] = [];
  for (;;) {
    const page = await collection.list({ ...query, after: all.at(-1), limit: PAGE });
    all.push(...page);
    if (page.length < PAGE) return all;
  }
}
