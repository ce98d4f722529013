#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { describeError, WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { escapeControls } from './output.ts';

/** Exit codes: 1 a refusal or failure, 2 a wrong command line. */
const FAILED = 1;
const WRONG_USAGE = 2;

/** Every command, loaded when it is the one that was asked for: the rest would take half a second and 20 MB. */
const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  demo: async () => (await import('./demo-command.ts')).registerDemoCommand,
  walk: async () => (await import('./walk-command.ts')).registerWalkCommand,
  resolver: async () => (await import('./resolver-command.ts')).registerResolverCommand,
  gateway: async () => (await import('./gateway-command.ts')).registerGatewayCommand,
  notice: async () => (await import('./notice-command.ts')).registerNoticeCommand,
  key: async () => (await import('./key-command.ts')).registerKeyCommand,
  trust: async () => (await import('./trust-command.ts')).registerTrustCommand,
  log: async () => (await import('./log-command.ts')).registerLogCommand,
  control: async () => (await import('./control-command.ts')).registerControlCommand,
  report: async () => (await import('./report-command.ts')).registerReportCommand,
  query: async () => (await import('./query-command.ts')).registerQueryCommand,
  witness: async () => (await import('./witness-command.ts')).registerWitnessCommand,
  audit: async () => (await import('./audit-command.ts')).registerAuditCommand,
  config: async () => (await import('./config-command.ts')).registerConfigCommand,
};

const program = new Command('warta')
  .description('DNS blocking under signed statutory notices, for exactly as long as each is in force')
  .showHelpAfterError()
  .enablePositionalOptions()
  .exitOverride();
const [, , asked = ''] = process.argv;
const wanted = Object.hasOwn(COMMANDS, asked) ? [COMMANDS[asked]!] : Object.values(COMMANDS);

try {
  for (const load of wanted) (await load())(program);
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
