import type { Socket } from 'node:net';
import type { PrefixList } from './address-policy.ts';
import type { ConnectionLimits } from './connection-limits.ts';
import type { GatewayCounters } from './gateway-counters.ts';
import { readProxyHeader } from './proxy-header.ts';

/** What every new connection passes before a listener sees it. */
export class ClientAdmission {
  readonly #limits: ConnectionLimits;
  readonly #trusted: PrefixList;
  readonly #counters: GatewayCounters;
  readonly #timeoutMillis: number;

  /** @param trusted sources that put a PROXY header in front of every connection. */
  constructor(limits: ConnectionLimits, trusted: PrefixList, counters: GatewayCounters, timeoutMillis: number) {
    this.#limits = limits;
    this.#trusted = trusted;
    this.#counters = counters;
    this.#timeoutMillis = timeoutMillis;
  }

  /** Counts the connection, reads its PROXY header if it comes from a balancer, and gives it to `serve`; or closes it. */
  admit(socket: Socket, serve: (socket: Socket) => void): void {
    const address = socket.remoteAddress;
    if (address === undefined) return void socket.destroy(); // gone already
    if (!this.#limits.enter()) return this.#refuse(socket, 'total');
    socket.once('close', () => this.#limits.leave());
    if (this.#trusted.includes(address)) this.#readHeader(socket, serve);
    else this.#countClient(socket, address, serve);
  }

  #countClient(socket: Socket, address: string, serve: (socket: Socket) => void): void {
    const leave = this.#limits.enterClient(address);
    if (leave === undefined) return this.#refuse(socket, 'client');
    socket.once('close', leave);
    serve(socket);
  }

  #refuse(socket: Socket, reason: 'total' | 'client' | 'proxy-header'): void {
    this.#counters.refusedConnections[reason] += 1;
    // A reset: whoever floods gets no state of ours in FIN-WAIT.
    socket.on('error', () => {}).resetAndDestroy();
  }

  #readHeader(socket: Socket, serve: (socket: Socket) => void): void {
    let gathered: Buffer = Buffer.alloc(0);
    const stop = () => {
      clearTimeout(timer);
      socket.off('readable', onReadable).off('end', fail).off('error', fail);
    };
    const fail = () => {
      stop();
      this.#refuse(socket, 'proxy-header');
    };
    const timer = setTimeout(fail, this.#timeoutMillis);
    const onReadable = () => {
      const chunk: Buffer | null = socket.read();
      if (chunk === null) return;
      gathered = gathered.length === 0 ? chunk : Buffer.concat([gathered, chunk]);
      const verdict = readProxyHeader(gathered);
      if (verdict.kind === 'incomplete') return;
      if (verdict.kind === 'malformed') return fail();
      stop();
      const rest = gathered.subarray(verdict.lengthBytes);
      if (rest.length > 0) socket.unshift(rest);
      // A balancer's own checks are not counted against anybody.
      if (verdict.client === undefined) serve(socket);
      else this.#countClient(socket, verdict.client, serve);
    };
    socket.on('readable', onReadable).once('end', fail).once('error', fail);
  }
}
