import type { Command } from 'commander';
import { createProgress } from '../base/terminal.ts';
import { loadConfig } from '../config/config.ts';
import { registerEnrolCommand } from './enrol-command.ts';
import { createLog } from './log.ts';
import { startNode } from './node.ts';
import { waitForSignal } from './signals.ts';
import { registerStatusCommand } from './status-command.ts';

/** Adds `warta resolver`. */
export function registerResolverCommand(program: Command): void {
  const resolver = program
    .command('resolver')
    .enablePositionalOptions() // `resolver status -c FILE` has options of its own
    .description('run the resolver sidecar: apply the signed notices, forward everything else')
    .option('-c, --config <file>', 'configuration file (see config/warta.yaml)')
    .action(async ({ config: file }: { config?: string }, command: Command) => {
      if (file === undefined) command.error("error: required option '-c, --config <file>' not specified");
      const config = loadConfig(file);
      const log = createLog(config.log.level);
      const asked = waitForSignal();
      const progress = createProgress('reading the register');
      const node = await startNode(config, log, (share) => progress.update(share, 1));
      progress.done();
      const where = config.resolver.listen.join(', ');
      log.info(`serving ${config.resolver.mode === 'observe' ? '(observe mode) ' : ''}on ${where} (UDP, TCP)`);
      const signal = await asked;
      log.info(`${signal}: stopping`);
      await node.stop();
    });
  registerStatusCommand(resolver);
  registerEnrolCommand(resolver);
}
