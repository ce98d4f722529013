import type { Config } from '../config/config.ts';
import type { Health } from '../metrics/metrics-server.ts';
import type { Verdict } from '../register/verify-statement.ts';
import type { ListKeeper } from '../sync/list-keeper.ts';
import type { ListReport, SyncStatus } from '../sync/sync-link.ts';

/** Void statements and refused entries in a status; report.json has more. */
const MAX_LISTED = 50;

/** What a node says of itself: what is in force, how old it is, where it is from, what was refused and why. */
export interface NodeStatus {
  readonly licensee: string;
  readonly mode: 'enforce' | 'observe';
  readonly nowSeconds: number;
  readonly serving: boolean;
  readonly notes: readonly string[];
  readonly rules: number;
  /** Of a gateway: listed pages in force, and those whose notice closes HTTPS to their hosts. */
  readonly pages?: { readonly pages: number; readonly blockHostPages: number };
  /** Whether the hosts of listed pages are sent to a gateway: else none of the list's pages is enforced by this node. */
  readonly pagesSteered: boolean;
  readonly readAtSeconds: number;
  readonly failure?: string;
  readonly list?: Omit<ListReport, 'table' | 'tableChanged'>;
  readonly log?: SyncStatus;
  readonly directory?: string;
}

/** Composes the status of a running node. Names of blocked sites are left out: a status is copied into tickets. */
export function composeStatus(node: {
  config: Config;
  mode: 'enforce' | 'observe';
  keeper: ListKeeper;
  nowSeconds: number;
  health: Health;
  rules: number;
  pages?: NodeStatus['pages'];
}): NodeStatus {
  const { config, mode, keeper, nowSeconds, health, rules, pages } = node;
  return {
    licensee: config.register.licensee,
    mode,
    nowSeconds,
    serving: health.serving,
    notes: health.notes,
    rules,
    pages,
    pagesSteered: keeper.pages.pagesSteered,
    readAtSeconds: keeper.readAtSeconds,
    failure: keeper.failure === '' ? undefined : keeper.failure,
    list: keeper.last && describeList(keeper.last),
    log: keeper.status,
    directory: config.register.directory,
  };
}

function describeList({ table: _, tableChanged: __, ...list }: ListReport): NodeStatus['list'] {
  const withoutName = list.refused.slice(0, MAX_LISTED).map((entry) => ({ ...entry, name: '' }));
  return { ...list, void: list.void.slice(0, MAX_LISTED) as Verdict[], refused: withoutName };
}
