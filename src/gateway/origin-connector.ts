import { connect, isIP, type LookupFunction, type Socket } from 'node:net';
import type { OriginResolver } from './origin-resolver.ts';

/** Opens connections to origins. */
export class OriginConnector {
  readonly #resolver: OriginResolver;
  readonly #timeoutMillis: number;

  constructor(resolver: OriginResolver, timeoutMillis: number) {
    this.#resolver = resolver;
    this.#timeoutMillis = timeoutMillis;
  }

  /**
   * Connects to a host by its permitted addresses, one after another. Calls back once: with a connected socket, or with the
   * error (`code` is `ETIMEDOUT` when nothing answered in time).
   */
  connect(host: string, port: number, callback: (error: Error | null, socket: Socket | null) => void): void {
    // An address would not be looked up, and so not be judged.
    if (isIP(host) !== 0) return callback(new Error(`${host} is no name`), null);
    const socket = connect({ host, port, lookup: this.#lookup, autoSelectFamily: true, allowHalfOpen: true });
    let isSettled = false;
    const settle = (error: Error | null) => {
      if (isSettled) return;
      isSettled = true;
      clearTimeout(timer);
      socket.off('error', settle).off('connect', onConnect);
      if (error !== null) socket.on('error', () => {}).destroy();
      callback(error, error === null ? socket : null);
    };
    const onConnect = () => settle(null);
    const timer = setTimeout(() => {
      settle(Object.assign(new Error(`no connection to ${host} in time`), { code: 'ETIMEDOUT' }));
    }, this.#timeoutMillis);
    socket.setNoDelay(true).on('error', settle).on('connect', onConnect);
  }

  readonly #lookup: LookupFunction = (host, options, callback) => {
    this.#resolver.resolve(host).then(
      (found) => {
        const [first] = found;
        if (options.all) callback(null, [...found]);
        else callback(null, first!.address, first!.family);
      },
      (error) => callback(error, ''),
    );
  };
}
