import type { Command } from 'commander';
import { createProgress } from '../base/terminal.ts';
import { loadConfig } from '../config/config.ts';
import { registerEnrolCommand } from './enrol-command.ts';
import { startGateway } from './gateway-node.ts';
import { createLog } from './log.ts';
import { waitForSignal } from './signals.ts';
import { registerStatusCommand } from './status-command.ts';

/** Adds `warta gateway`. */
export function registerGatewayCommand(program: Command): void {
  const gateway = program
    .command('gateway')
    .enablePositionalOptions() // `gateway status -c FILE` has options of its own
    .description('run the URL gateway: answer listed pages with 451, pass everything else of their hosts on')
    .option('-c, --config <file>', 'configuration file (see config/gateway.yaml)')
    .action(async ({ config: file }: { config?: string }, command: Command) => {
      if (file === undefined) command.error("error: required option '-c, --config <file>' not specified");
      const config = loadConfig(file);
      const log = createLog(config.log.level);
      const asked = waitForSignal();
      const progress = createProgress('reading the register');
      const node = await startGateway(config, log, { onProgress: (share) => progress.update(share, 1) });
      progress.done();
      log.info(`serving on ${node.listeners}`);
      const signal = await asked;
      log.info(`${signal}: stopping when requests under way are done`);
      await node.stop();
    });
  registerStatusCommand(gateway, 'warta-gateway');
  registerEnrolCommand(gateway);
}
