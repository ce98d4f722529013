import { styleText } from 'node:util';

/** Text styles used on a terminal; a pipe or NO_COLOR gets plain text. */
export type Style = Parameters<typeof styleText>[0];

/** Returns `text` in `style` when `stream` is a terminal that shows colours, else `text` unchanged. */
export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return styleText(style, text, { stream, validateStream: true });
}

/** A progress bar: `update` as often as you like (it redraws at most ten times a second), `done` once. */
export interface Progress {
  update(done: number, total: number): void;
  done(): void;
}

const BAR_WIDTH = 30;
const REDRAW_MILLIS = 100;

/** Creates a progress bar on `stream`, or a silent one when `stream` is not a terminal. */
export function createProgress(label: string, stream: NodeJS.WriteStream = process.stderr): Progress {
  if (!stream.isTTY) return { update() {}, done() {} };
  let drawnAt = 0;
  let drawn = false;
  return {
    update(done, total) {
      const now = performance.now();
      if (now - drawnAt < REDRAW_MILLIS) return;
      drawnAt = now;
      drawn = true;
      const share = total > 0 ? Math.min(1, done / total) : 0;
      const filled = Math.round(share * BAR_WIDTH);
      const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
      stream.write(`\r${label} ${paint('cyan', bar, stream)} ${Math.floor(share * 100)} %`);
    },
    done() {
      if (drawn) stream.write('\r\x1b[2K');
    },
  };
}
