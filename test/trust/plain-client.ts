import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Updater } from 'tuf-js';

/** Serves a folder over HTTP as any static file server would; returns its address. */
export async function serveFolder(folder: string): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    try {
      response.end(readFileSync(join(folder, new URL(request.url!, 'http://any.invalid').pathname)));
    } catch {
      response.writeHead(404).end('<html>not found</html>');
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${port}`, close };
}

/**
 * tuf-js as its own documentation uses it, with its own fetcher and folder and none of Warta's code: an independent client
 * of what we publish. It goes by the clock of the machine.
 */
export class PlainClient {
  readonly folder = mkdtempSync(join(tmpdir(), 'warta-plain-tuf-'));
  readonly #url: string;

  constructor(url: string, pinnedRoot: Uint8Array) {
    this.#url = url;
    writeFileSync(join(this.folder, 'root.json'), pinnedRoot);
  }

  /** Refreshes and returns the text of the target. */
  async read(): Promise<string> {
    const updater = new Updater({
      metadataDir: this.folder,
      metadataBaseUrl: this.#url,
      targetDir: this.folder,
      targetBaseUrl: `${this.#url}/targets`,
      config: { fetchRetry: 0 },
    });
    await updater.refresh();
    const target = await updater.getTargetInfo('authorities.json');
    if (target === undefined) throw new Error('no such target');
    const path = (await updater.findCachedTarget(target)) ?? (await updater.downloadTarget(target));
    return readFileSync(path, 'utf8');
  }

  clear(): void {
    rmSync(this.folder, { recursive: true });
  }
}
