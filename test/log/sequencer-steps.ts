import type { Operation } from './faulty-storage.ts';

/** Names in the log of a child process. */
export const CHILD_ORIGIN = 'child.example/log';
export const CHILD_WITNESS = 'child.example/witness';

/** Steps of a sequencer, and of the witness it asks, at which a process can be killed; `never`: it runs on. */
export const STEPS = ['claim', 'stage', 'commit', 'apply', 'cosign', 'publish', 'prune', 'unstage'] as const;
export type Step = (typeof STEPS)[number] | 'never';

/** When in a step: `during` leaves half a file beside its place, as a write cut off does. */
export const PHASES = ['before', 'during', 'after'] as const;
export type Phase = (typeof PHASES)[number];

/** Steps that write a file. */
export const WRITING_STEPS: readonly Step[] = ['claim', 'stage', 'commit', 'apply', 'cosign', 'publish'];

const MATCHES: Record<Step, (operation: Operation) => boolean> = {
  claim: ({ store, verb }) => store === 'state' && verb === 'replace',
  stage: ({ store, verb }) => store === 'state' && verb === 'create',
  commit: ({ store, verb }) => store === 'state' && verb === 'replace',
  apply: ({ store, verb }) => store === 'public' && verb === 'create',
  cosign: ({ store, verb }) => store === 'witness' && verb === 'replace',
  publish: ({ store, verb }) => store === 'public' && verb === 'replace',
  prune: ({ store, verb }) => store === 'public' && verb === 'remove',
  unstage: ({ store, verb }) => store === 'state' && verb === 'remove',
  never: () => false,
};

/** Whether an operation belongs to a step. */
export function isStep(step: Step, operation: Operation): boolean {
  return MATCHES[step](operation);
}
