import { type DestinationStream, type Logger, pino } from 'pino';
import { paint, type Style } from '../base/terminal.ts';

/** How a level looks on a terminal. */
const LEVELS: Record<number, [string, Style]> = {
  20: ['debug', 'gray'],
  30: ['info ', 'green'],
  40: ['warn ', 'yellow'],
  50: ['error', 'red'],
  60: ['fatal', 'red'],
};

/** Creates the log: JSON lines on standard output for a collector, readable lines on standard error for a terminal. */
export function createLog(level: string): Logger {
  return process.stderr.isTTY ? pino({ level, base: undefined }, readableLines()) : pino({ level, base: undefined });
}

function readableLines(): DestinationStream {
  return {
    write(line) {
      const { level, time, msg, err } = JSON.parse(line);
      const [word, style] = LEVELS[level] ?? ['log  ', 'white'];
      const clock = paint('gray', new Date(time).toTimeString().slice(0, 8), process.stderr);
      const detail = err?.message ? `: ${err.message}` : '';
      process.stderr.write(`${clock} ${paint(style, word, process.stderr)} ${msg}${detail}\n`);
    },
  };
}
