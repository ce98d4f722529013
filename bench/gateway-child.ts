/**
 * A `warta gateway` process for `bench/gateway.ts`, with origins on ports of its own: the start as JSON in the first argument,
 * its port as JSON on stdout.
 */
import { startGateway } from '../src/cli/gateway-node.ts';
import { createLog } from '../src/cli/log.ts';
import { type ConfigSource, checkConfig } from '../src/config/config.ts';

/** What the process is started with. */
export interface GatewayStart {
  config: ConfigSource;
  originPort: number;
}

const { config, originPort } = JSON.parse(process.argv[2]!) as GatewayStart;
const node = await startGateway(checkConfig(config, 'bench.yaml'), createLog('error'), {
  originPorts: { 80: originPort },
});
await node.keeper.refresh();
console.log(JSON.stringify({ http: node.gateway.httpPort }));
process.once('SIGTERM', () => process.exit());
