import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DirectoryStorage } from '../../log/directory-storage.ts';
import type { LogStorage } from '../../log/log-storage.ts';
import type { LogConfig } from './log-config.ts';
import { NODES_PATH } from './nodes-file.ts';

const TIMESTAMP_PATH = 'trust/timestamp.json';

/**
 * Opens the tree that readers get: the log's own folder, or a bucket of an S3-compatible store. Its keys come from the
 * environment, as the store's own tools take them (`AWS_ACCESS_KEY_ID` and so on).
 */
export async function openPublicTree({ bucket, public: folder }: LogConfig): Promise<LogStorage> {
  if (bucket === undefined) return new DirectoryStorage(folder);
  const { name, prefix, region, endpoint, conditionalWrites } = bucket;
  // The client library takes a third of a second to load, which no other log need wait for.
  const { createS3Client, S3Storage } = await import('../../log/s3-storage.ts');
  return new S3Storage({ client: createS3Client({ endpoint, region }), bucket: name, prefix, conditionalWrites });
}

/** Brings into a bucket what is made in the log's folder: the trust repository and the list of nodes. */
export class FolderCopy {
  readonly #folder: string;
  readonly #from: LogStorage;
  readonly #to: LogStorage;
  readonly #copied = new Set<string>();

  constructor(folder: string, to: LogStorage) {
    this.#folder = folder;
    this.#from = new DirectoryStorage(folder);
    this.#to = to;
  }

  /**
   * Copies what is new. The timestamp comes last, as it names everything else.
   *
   * @throws {WartaError} `store-failed`.
   */
  async update(): Promise<void> {
    const names = readdirSync(join(this.#folder, 'trust'), { recursive: true, encoding: 'utf8' });
    for (const name of names.filter((one) => one.endsWith('.json')).sort()) {
      const path = `trust/${name}`;
      if (path === TIMESTAMP_PATH || this.#copied.has(path)) continue;
      await this.#to.create(path, (await this.#from.read(path))!);
      this.#copied.add(path);
    }
    for (const path of [TIMESTAMP_PATH, NODES_PATH]) await this.#replace(path);
  }

  async #replace(path: string): Promise<void> {
    const [bytes, before] = await Promise.all([this.#from.read(path), this.#to.read(path)]);
    if (bytes === undefined || (before !== undefined && Buffer.compare(bytes, before) === 0)) return;
    await this.#to.replace(path, bytes, before);
  }
}
