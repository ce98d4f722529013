#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { describeError, WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { registerAuditCommand } from './audit-command.ts';
import { registerConfigCommand } from './config-command.ts';
import { registerControlCommand } from './control-command.ts';
import { registerDemoCommand } from './demo-command.ts';
import { registerKeyCommand } from './key-command.ts';
import { registerLogCommand } from './log-command.ts';
import { registerNoticeCommand } from './notice-command.ts';
import { escapeControls } from './output.ts';
import { registerQueryCommand } from './query-command.ts';
import { registerReportCommand } from './report-command.ts';
import { registerResolverCommand } from './resolver-command.ts';
import { registerTrustCommand } from './trust-command.ts';
import { registerWalkCommand } from './walk-command.ts';
import { registerWitnessCommand } from './witness-command.ts';

/** Exit codes: 1 a refusal or failure, 2 a wrong command line. */
const FAILED = 1;
const WRONG_USAGE = 2;

const program = new Command('warta')
  .description('DNS blocking under signed statutory notices, for exactly as long as each is in force')
  .showHelpAfterError()
  .enablePositionalOptions()
  .exitOverride();
registerDemoCommand(program);
registerWalkCommand(program);
registerResolverCommand(program);
registerNoticeCommand(program);
registerKeyCommand(program);
registerTrustCommand(program);
registerLogCommand(program);
registerControlCommand(program);
registerQueryCommand(program);
registerWitnessCommand(program);
registerAuditCommand(program);
registerReportCommand(program);
registerConfigCommand(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : WRONG_USAGE;
  } else {
    const code = error instanceof WartaError ? ` [${error.code}]` : '';
    console.error(
      `${paint('red', `error${code}:`, process.stderr)} ${describeError(error).split('\n').map(escapeControls).join('\n')}`,
    );
    if (process.env.WARTA_DEBUG && error instanceof Error) console.error(error.stack, error.cause ?? '');
    process.exitCode = FAILED;
  }
}
