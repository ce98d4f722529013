import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { NodeStatus } from '../../src/cli/node-status.ts';
import { describeStatus } from '../../src/cli/status-command.ts';

const LIST: NodeStatus['list'] = {
  ...{ rules: 7, entries: 6, pages: 0, httpOnlyPages: 0, verdictCounts: { ok: 2 }, void: [], voidCount: 0 },
  ...{ refused: [], refusedCount: 0, rulesDigest: 'ab'.repeat(32), foldedAtSeconds: 1, seconds: 1 },
};
const STATUS: NodeStatus = {
  ...{ licensee: 'NSP-1', mode: 'enforce', nowSeconds: 1_000, serving: true, notes: ['mode enforce', '7 rules'] },
  ...{ rules: 7, pagesSteered: false, readAtSeconds: 990, directory: '/register', list: LIST },
};

/** The rows about pages. */
function pagesOf(changes: Partial<NodeStatus>): string[] {
  const lines = stripVTControlCharacters(describeStatus({ ...STATUS, ...changes })).split('\n');
  const at = lines.findIndex((line) => line.startsWith('pages'));
  const told =
    at < 0
      ? []
      : lines.slice(
          at,
          lines.findIndex((line, next) => next > at && /^\S/.test(line)),
        );
  return told.map((line) => line.replace(/^(pages)?\s+/, ''));
}

describe('the status of a node', () => {
  const passes = 'HTTPS to the hosts of 2 passes, as no page can be told apart there';
  const unsteered = 'their hosts are sent to no gateway, so no page is blocked: see resolver.gateway';

  it.each<[string, Partial<NodeStatus>, string[]]>([
    ['no page', {}, []],
    ['no list yet', { list: undefined }, []],
    ['pages that nobody steers', { list: { ...LIST, pages: 3, httpOnlyPages: 2 } }, [`3 listed; ${passes}`, unsteered]],
    [
      'pages that are steered',
      { list: { ...LIST, pages: 3, httpOnlyPages: 2 }, pagesSteered: true },
      [`3 listed; ${passes}`],
    ],
    ['pages with HTTPS closed', { list: { ...LIST, pages: 3 }, pagesSteered: true }, ['3 listed']],
    [
      'a gateway, which counts those in force',
      { list: { ...LIST, pages: 9 }, pagesSteered: true, pages: { pages: 5, blockHostPages: 3 } },
      [`5 listed; ${passes}`],
    ],
  ])('tells of %s', (_what, changes, expected) => {
    expect(pagesOf(changes)).toEqual(expected);
  });
});
