import { createConnection } from 'node:net';
import { HealthMonitor } from './health-monitor.ts';

/** The URL gateways that hosts with listed pages are steered to. */
export interface GatewayOptions {
  /** IPv4 and IPv6 addresses. */
  addresses: readonly string[];
  /** TCP ports that a gateway accepts connections on while it serves. */
  checkPorts: readonly number[];
  intervalMillis: number;
  timeoutMillis: number;
}

/**
 * Watches the gateways. One that does not accept connections on every port gets nobody steered to it: whoever asks for such a host is
 * given its true addresses, as the host itself is not blocked, and its listed pages wait until the gateway is back.
 */
export function createGatewayMonitor(
  options: GatewayOptions,
  onChange: (address: string, up: boolean) => void,
): HealthMonitor {
  const { addresses, checkPorts, intervalMillis, timeoutMillis } = options;
  return new HealthMonitor({
    count: addresses.length,
    intervalMillis,
    startsUp: false,
    check: async (gateway) => {
      const accepted = await Promise.all(checkPorts.map((port) => accepts(addresses[gateway]!, port, timeoutMillis)));
      return accepted.every((one) => one);
    },
    onChange: (gateway, up) => onChange(addresses[gateway]!, up),
  });
}

/** Whether a TCP connection is accepted in time. */
function accepts(host: string, port: number, timeoutMillis: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port });
    const finish = (accepted: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(accepted);
    };
    const timer = setTimeout(finish, timeoutMillis, false);
    // A check under way must not keep a program alive that was told to stop.
    timer.unref();
    socket.unref();
    socket.once('connect', () => finish(true));
    socket.once('error', () => finish(false));
  });
}
