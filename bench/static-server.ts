import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findFreePort } from '../test/support/ports.ts';
import { startServer } from './server.ts';

/** One line of the access log. */
export interface Access {
  /** When the answer was sent, milliseconds since the epoch. */
  readonly atMillis: number;
  readonly path: string;
  readonly status: number;
  /** Octets sent, headers included. */
  readonly sentBytes: number;
}

/** An nginx that serves one folder, as a mirror does. */
export interface StaticServer {
  readonly url: string;
  /** Reads the access log from the last call on. */
  readAccesses(): Access[];
  stop(): Promise<void>;
}

/**
 * Starts nginx on a loopback port. Its ETag is made of whole seconds and the size, so the two files that change in place are
 * served without one: two checkpoints of one second would look the same.
 */
export async function startStaticServer(folder: string, own: string): Promise<StaticServer> {
  const port = await findFreePort();
  mkdirSync(own, { recursive: true });
  const accessLog = join(own, 'access.log');
  const conf = join(own, 'nginx.conf');
  writeFileSync(
    conf,
    `daemon off; worker_processes 1; pid ${own}/nginx.pid; error_log ${own}/error.log; user root;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; keepalive_requests 100000; keepalive_timeout 75;
  client_body_temp_path ${own}/b; proxy_temp_path ${own}/p; fastcgi_temp_path ${own}/f; uwsgi_temp_path ${own}/u; scgi_temp_path ${own}/s;
  log_format brief '$msec $uri $status $bytes_sent';
  server {
    listen 127.0.0.1:${port}; root ${folder}; access_log ${accessLog} brief;
    location = /checkpoint { etag off; if_modified_since off; add_header Last-Modified ""; }
    location = /trust/timestamp.json { etag off; if_modified_since off; add_header Last-Modified ""; }
  }
}
`,
  );
  const server = startServer({ command: 'nginx', args: ['-c', conf, '-p', own], port, outputPath: join(own, 'out') });
  const url = `http://127.0.0.1:${port}/`;
  await waitUntilServing(url, server.findDeath);
  let read = 0;
  return {
    url,
    readAccesses() {
      const text = readFileSync(accessLog, 'utf8');
      const lines = text.slice(read).split('\n').slice(0, -1);
      read += lines.reduce((sum, line) => sum + line.length + 1, 0);
      return lines.map(parseAccess);
    },
    stop: () => server.stop(),
  };
}

async function waitUntilServing(url: string, findDeath: () => Error | null): Promise<void> {
  for (;;) {
    const death = findDeath();
    if (death) throw death;
    try {
      await (await fetch(url)).arrayBuffer();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function parseAccess(line: string): Access {
  const [seconds, uri, status, sent] = line.split(' ');
  return { atMillis: Number(seconds) * 1000, path: uri!.slice(1), status: Number(status), sentBytes: Number(sent) };
}
