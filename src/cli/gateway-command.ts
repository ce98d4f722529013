import type { Command } from 'commander';
import { startGateway } from './gateway-node.ts';
import { registerNodeCommand } from './node-command.ts';

/** Adds `warta gateway`. */
export function registerGatewayCommand(program: Command): void {
  registerNodeCommand(program, {
    name: 'gateway',
    description: 'run the URL gateway: answer listed pages with 451, pass everything else of their hosts on',
    example: 'config/gateway.yaml',
    unit: 'warta-gateway',
    start: (config, log, onProgress) => startGateway(config, log, { onProgress }),
    describe: (_, node) => `on ${node.listeners}`,
    stopping: 'stopping when requests under way are done',
  });
}
