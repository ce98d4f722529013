import ipaddr from 'ipaddr.js';
import { RRTYPE } from '../dns/constants.ts';

/** The gateways as plain data, so that they can be sent to a thread. */
export interface SteeringSettings {
  addresses: readonly string[];
  /** One word for each address: 1 while the gateway accepts connections. */
  up: SharedArrayBuffer;
}

/** Which addresses stand for the gateways at the moment. */
export class Steering {
  readonly #up: Int32Array;
  readonly #addresses: readonly Uint8Array[];
  #turn = 0;

  constructor(settings?: SteeringSettings) {
    this.#up = new Int32Array(settings?.up ?? new SharedArrayBuffer(4));
    this.#addresses = (settings?.addresses ?? []).map((text) => Uint8Array.from(ipaddr.parse(text).toByteArray()));
  }

  /**
   * Whether there is a gateway for everyone: of each family that has an address, one that serves. With those of one family
   * down, clients that have no other would be cut off from hosts that are not blocked.
   */
  get isUp(): boolean {
    if (this.#addresses.length === 0) return false;
    return [4, 16].every((sizeBytes) => {
      const family = this.#addresses.some(({ length }) => length === sizeBytes);
      return !family || this.#serving(sizeBytes).length > 0;
    });
  }

  /**
   * Returns the data of A or AAAA records that lead to the gateways that serve, in turn first; nothing for any other type,
   * nor where no gateway has an address of that family.
   */
  addressesFor(qtype: number): readonly Uint8Array[] {
    const sizeBytes = qtype === RRTYPE.A ? 4 : qtype === RRTYPE.AAAA ? 16 : 0;
    const serving = this.#serving(sizeBytes);
    if (serving.length < 2) return serving;
    this.#turn = (this.#turn + 1) % serving.length;
    return [...serving.slice(this.#turn), ...serving.slice(0, this.#turn)];
  }

  #serving(sizeBytes: number): readonly Uint8Array[] {
    return this.#addresses.filter((one, i) => one.length === sizeBytes && Atomics.load(this.#up, i) === 1);
  }
}

/** Whether a query of this type is answered on behalf of a host with listed pages: SVCB and HTTPS would lead past the gateway. */
export function isSteered(qtype: number): boolean {
  return qtype === RRTYPE.A || qtype === RRTYPE.AAAA || qtype === RRTYPE.HTTPS || qtype === RRTYPE.SVCB;
}
