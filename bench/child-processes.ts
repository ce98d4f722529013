import type { ChildProcess } from 'node:child_process';

/** Every process the bench runs now. */
const running = new Set<ChildProcess>();

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Sees to it that `child` does not outlive the bench, however the bench ends (but for SIGKILL). */
export function killOnExit(child: ChildProcess): void {
  running.add(child);
  child.on('exit', () => running.delete(child));
}
