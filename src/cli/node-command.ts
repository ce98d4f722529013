import type { Command } from 'commander';
import type { Logger } from 'pino';
import { createProgress } from '../base/terminal.ts';
import { type Config, loadConfig } from '../config/config.ts';
import { registerEnrolCommand } from './enrol-command.ts';
import { createLog } from './log.ts';
import { waitForSignal } from './signals.ts';
import { registerStatusCommand } from './status-command.ts';

/** A node that runs until it is told to stop. */
export interface RunningNode {
  stop(): Promise<void>;
}

/** What differs between the commands that run a node. */
export interface NodeCommand<N extends RunningNode> {
  name: string;
  description: string;
  /** The configuration file that has every key. */
  example: string;
  /** The node's unit, for hints. */
  unit: string;
  start(config: Config, log: Logger, onProgress: (share: number) => void): Promise<N>;
  /** Says how it serves, and where. */
  describe(config: Config, node: N): string;
  /** Said after the signal that stops it. */
  stopping: string;
}

/** Adds a command that runs a node, with `status` and `enrol` below it. */
export function registerNodeCommand<N extends RunningNode>(program: Command, spec: NodeCommand<N>): void {
  const node = program
    .command(spec.name)
    .enablePositionalOptions() // `resolver status -c FILE` has options of its own
    .description(spec.description)
    .option('-c, --config <file>', `configuration file (see ${spec.example})`)
    .action(async ({ config: file }: { config?: string }, command: Command) => {
      if (file === undefined) command.error("error: required option '-c, --config <file>' not specified");
      const config = loadConfig(file);
      const log = createLog(config.log.level);
      const asked = waitForSignal();
      const progress = createProgress('reading the register');
      const running = await spec.start(config, log, (share) => progress.update(share, 1));
      progress.done();
      log.info(`serving ${spec.describe(config, running)}`);
      const signal = await asked;
      log.info(`${signal}: ${spec.stopping}`);
      await running.stop();
    });
  registerStatusCommand(node, spec.unit);
  registerEnrolCommand(node);
}
