import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
} from '@aws-sdk/client-s3';
import { WartaError } from '../base/errors.ts';
import { type LogStorage, requirePath } from './log-storage.ts';

/** Where the bucket is, and how to be let in. */
export interface S3Access {
  /** Address of the service when it is not Amazon's. */
  readonly endpoint?: string;
  readonly region: string;
  /** Taken from the environment, or the machine's role, unless given. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** A bucket, and how to use it. */
export interface S3StorageOptions {
  readonly client: S3Client;
  readonly bucket: string;
  /** Goes before every path; ends in `/` unless it is empty. */
  readonly prefix?: string;
  /**
   * Whether the store honours `If-None-Match` and `If-Match` on writes, as Amazon S3 does since 2024, and MinIO, Ceph and
   * others. Without, this is safe only while nothing but one process writes: keep the log's private state in a folder then,
   * whose lock sees to that.
   */
  readonly conditionalWrites?: boolean;
}

const CONNECT_MILLIS = 5_000;
const REQUEST_MILLIS = 30_000;

/** HTTP statuses that say a condition was not met, or that another write was under way. */
const CONDITION_STATUSES = [409, 412];

/** Where it is found out whether a store honours conditions. */
const PROBE_PATH = 'condition-probe';

/** Creates a client that gives up on a store that does not answer. */
export function createS3Client({ endpoint, region, credentials }: S3Access): S3Client {
  return new S3Client({
    endpoint,
    region,
    credentials,
    forcePathStyle: endpoint !== undefined, // other stores rarely have a host name for each bucket
    requestChecksumCalculation: 'WHEN_REQUIRED', // not every store knows the newer checksum headers
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: CONNECT_MILLIS, requestTimeout: REQUEST_MILLIS, throwOnRequestTimeout: true },
  });
}

/** What was read, and the tag that says which version it is. */
interface Version {
  readonly bytes: Uint8Array;
  readonly etag?: string;
}

/**
 * A log's files in an S3-compatible store. Two writers are kept apart by conditional writes: nobody is locked out, but of two
 * that change the same file one finds it changed, which is `log-busy`.
 */
export class S3Storage implements LogStorage {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #isConditional: boolean;

  constructor({ client, bucket, prefix = '', conditionalWrites = true }: S3StorageOptions) {
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix;
    this.#isConditional = conditionalWrites;
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    return (await this.#readVersion(path))?.bytes;
  }

  async create(path: string, bytes: Uint8Array): Promise<void> {
    const present = this.#isConditional ? undefined : await this.#readVersion(path);
    const isWritten = present === undefined && (await this.#put(path, bytes, { IfNoneMatch: '*' }, true));
    if (isWritten || isSame((present ?? (await this.#readVersion(path)))?.bytes, bytes)) return;
    throw new WartaError('log-invalid', `${this.#locate(path)} is there with other bytes: it must never change`);
  }

  async replace(path: string, bytes: Uint8Array, expected: Uint8Array | undefined): Promise<void> {
    const present = await this.#readVersion(path);
    if (!isSame(present?.bytes, expected)) throw this.#busy(path);
    const condition = present === undefined ? { IfNoneMatch: '*' } : { IfMatch: present.etag };
    if (await this.#put(path, bytes, condition, false)) return;
    // The client sends again what it had no answer to, and then finds its own write: that is no stranger's.
    if (!isSame(await this.read(path), bytes)) throw this.#busy(path);
  }

  async remove(path: string): Promise<void> {
    const key = this.#keyOf(path);
    if (path.endsWith('/')) return this.#removeBelow(key);
    await this.#attempt(path, 'remove', () =>
      this.#client.send(new DeleteObjectCommand({ Bucket: this.#bucket, Key: key })),
    );
  }

  /** Makes sure that the store honours conditions: one that ignores them would let two sequencers fork the log. */
  async lock(): Promise<() => void> {
    if (!this.#isConditional) return () => {};
    const probe = Buffer.from('Two writers are kept apart by conditional writes; this file shows that they work.\n');
    await this.#put(PROBE_PATH, probe, { IfNoneMatch: '*' }, false);
    const ignoresPresence = await this.#put(PROBE_PATH, probe, { IfNoneMatch: '*' }, false);
    const ignoresVersion = await this.#put(PROBE_PATH, probe, { IfMatch: '"00000000000000000000000000000000"' }, false);
    if (ignoresPresence || ignoresVersion) {
      const advice = 'keep the private state of the log in a folder';
      throw new WartaError('store-failed', `${this.#locate('')} ignores If-None-Match or If-Match: ${advice}`);
    }
    return () => {};
  }

  /** Removes all objects whose key begins with `prefix`. */
  async #removeBelow(prefix: string): Promise<void> {
    for (;;) {
      const list = new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: prefix });
      const { Contents = [] } = await this.#attempt(prefix, 'list', () => this.#client.send(list));
      if (Contents.length === 0) return;
      const Objects = Contents.map(({ Key }) => ({ Key }));
      const removal = new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects, Quiet: true } });
      const { Errors = [] } = await this.#attempt(prefix, 'remove', () => this.#client.send(removal));
      if (Errors.length > 0)
        throw new WartaError('store-failed', `cannot remove ${Errors[0].Key}: ${Errors[0].Message}`);
    }
  }

  async #readVersion(path: string): Promise<Version | undefined> {
    const command = new GetObjectCommand({ Bucket: this.#bucket, Key: this.#keyOf(path) });
    return this.#attempt(path, 'read', async () => {
      try {
        const { Body, ETag } = await this.#client.send(command);
        return { bytes: await Body!.transformToByteArray(), etag: ETag };
      } catch (cause) {
        if (statusOf(cause) === 404 && (cause as Error).name === 'NoSuchKey') return undefined;
        throw cause;
      }
    });
  }

  /** Writes an object under a condition; returns false when that was not met. */
  async #put(
    path: string,
    bytes: Uint8Array,
    condition: Pick<PutObjectCommandInput, 'IfMatch' | 'IfNoneMatch'>,
    isImmutable: boolean,
  ): Promise<boolean> {
    const command = new PutObjectCommand({
      Bucket: this.#bucket,
      Key: this.#keyOf(path),
      Body: bytes,
      ContentType: contentTypeOf(path),
      CacheControl: isImmutable ? 'public, max-age=31536000, immutable' : 'no-cache',
      ...(this.#isConditional ? condition : {}),
    });
    return this.#attempt(path, 'write', async () => {
      try {
        await this.#client.send(command);
        return true;
      } catch (cause) {
        if (this.#isConditional && CONDITION_STATUSES.includes(statusOf(cause) ?? 0)) return false;
        throw cause;
      }
    });
  }

  /** Gives what the client throws a code and a name. */
  async #attempt<T>(path: string, verb: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (cause) {
      const advice = 'check the store and the rights of the key';
      throw new WartaError('store-failed', `cannot ${verb} ${this.#locate(path)}: ${advice}`, { cause });
    }
  }

  #busy(path: string): WartaError {
    return new WartaError('log-busy', `${this.#locate(path)} was changed by someone else`);
  }

  #keyOf(path: string): string {
    requirePath(path);
    return `${this.#prefix}${path}`;
  }

  #locate(path: string): string {
    return `s3://${this.#bucket}/${this.#prefix}${path}`;
  }
}

function isSame(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return Buffer.compare(one, other) === 0;
}

function statusOf(cause: unknown): number | undefined {
  return (cause as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
}

/** Content types of a log's files (C2SP tlog-tiles, "APIs"). */
function contentTypeOf(path: string): string {
  if (path.endsWith('checkpoint')) return 'text/plain; charset=utf-8';
  return /\.jsonl?$/.test(path) ? 'application/json' : 'application/octet-stream';
}
