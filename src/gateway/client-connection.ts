import type { Socket } from 'node:net';
import ipaddr from 'ipaddr.js';
import { ClientLimit } from '../base/client-limit.ts';
import { receiveProxyHeader } from '../base/proxy-header.ts';
import type { PrefixList } from './address-policy.ts';
import type { ConnectionRefusal, GatewayCounters } from './gateway-counters.ts';

/** Octets of an IPv6 address that tell clients apart: a subscriber usually gets a /56. */
const IPV6_CLIENT_BYTES = 7;

/** How many connections may be open, and how long one may take to say whose it is. */
export interface AdmissionLimits {
  readonly connections: number;
  readonly connectionsPerClient: number;
  readonly openingSeconds: number;
}

/** What every new connection passes before a listener sees it. */
export class ClientAdmission {
  readonly #limits: AdmissionLimits;
  readonly #trusted: PrefixList;
  readonly #counters: GatewayCounters;
  readonly #clients: ClientLimit;
  #open = 0;

  /** @param trusted sources that put a PROXY header in front of every connection. */
  constructor(limits: AdmissionLimits, trusted: PrefixList, counters: GatewayCounters) {
    this.#limits = limits;
    this.#trusted = trusted;
    this.#counters = counters;
    this.#clients = new ClientLimit(limits.connectionsPerClient, IPV6_CLIENT_BYTES);
  }

  /** Counts the connection, reads its PROXY header if it comes from a balancer, and gives it to `serve`; or closes it. */
  admit(socket: Socket, serve: (socket: Socket) => void): void {
    const address = socket.remoteAddress;
    if (address === undefined) return void socket.destroy(); // gone already
    if (this.#open >= this.#limits.connections) return this.#refuse(socket, 'total');
    this.#open += 1;
    socket.once('close', () => {
      this.#open -= 1;
    });
    if (this.#trusted.includes(address)) this.#readHeader(socket, serve);
    else this.#countClient(socket, address, serve);
  }

  #countClient(socket: Socket, address: string, serve: (socket: Socket) => void): void {
    const leave = this.#clients.enter(Uint8Array.from(ipaddr.parse(address).toByteArray()));
    if (leave === undefined) return this.#refuse(socket, 'client');
    socket.once('close', leave);
    serve(socket);
  }

  #refuse(socket: Socket, reason: ConnectionRefusal): void {
    this.#counters.refusedConnections[reason] += 1;
    // A reset: whoever floods gets no state of ours in FIN-WAIT.
    socket.on('error', () => {}).resetAndDestroy();
  }

  #readHeader(socket: Socket, serve: (socket: Socket) => void): void {
    const giveUp = receiveProxyHeader(socket, (header) => {
      clearTimeout(timer);
      if (typeof header === 'string') return this.#refuse(socket, 'proxy-header');
      // A balancer's own checks are not counted against anybody.
      if (header.client === undefined) serve(socket);
      else this.#countClient(socket, header.client.host, serve);
    });
    const timer = setTimeout(() => {
      giveUp();
      this.#refuse(socket, 'proxy-header');
    }, this.#limits.openingSeconds * 1000);
  }
}
