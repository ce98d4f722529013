import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Answers a request; not calling it leaves the client waiting. */
export type Reply = (status: number, body: string) => void;

/** Starts an HTTP server that answers every request alike. */
export async function startHttp(handle: (reply: Reply) => void): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    request.resume().on('end', () => handle((status, body) => response.writeHead(status).end(body)));
    request.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
