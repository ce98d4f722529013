import { addColumn, type SchemaChange } from './schema.ts';

/** What a receipt says of listed pages: the counts, and whether the node sends their hosts to a gateway. */
export async function addReceiptPages(change: SchemaChange): Promise<void> {
  await addColumn(change, 'receipts', 'pages', 'text');
}
