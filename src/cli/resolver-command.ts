import type { Command } from 'commander';
import { createProgress } from '../base/terminal.ts';
import { type Config, loadConfig } from '../config/config.ts';
import { registerEnrolCommand } from './enrol-command.ts';
import { createLog } from './log.ts';
import { startNode } from './node.ts';
import { waitForSignal } from './signals.ts';
import { registerStatusCommand } from './status-command.ts';

/** Says where the resolver listens, and how. */
function listListeners({ resolver: { listen, tls } }: Config): string {
  const kinds = [
    [listen, 'UDP, TCP'],
    [tls.dot.listen, 'DoT'],
    [tls.doh.listen, 'DoH'],
  ] as const;
  const listeners = kinds.filter(([addresses]) => addresses.length > 0);
  return listeners.map(([addresses, kind]) => `${addresses.join(', ')} (${kind})`).join(', ');
}

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
      log.info(`serving ${config.resolver.mode === 'observe' ? '(observe mode) ' : ''}on ${listListeners(config)}`);
      const signal = await asked;
      log.info(`${signal}: stopping`);
      await node.stop();
    });
  registerStatusCommand(resolver, 'warta-resolver');
  registerEnrolCommand(resolver);
}
