import { describe, expect, it } from 'vitest';
import { HostBook } from '../../src/gateway/host-book.ts';
import type { HostRules, RuleTime, UrlRules } from '../../src/gateway/url-rules.ts';

const RULES: HostRules = { hasPages: true, blocksHttps: false, findPage: () => undefined };

/** Rules for these hosts, until the given second. */
function rulesFor(hosts: Record<string, number>): UrlRules {
  return { findHost: (host, { endSeconds }) => (endSeconds < (hosts[host] ?? 0) ? RULES : undefined) };
}

class Book {
  now = 100_000;
  readonly book: HostBook;

  constructor(rules: UrlRules) {
    this.book = new HostBook(rules, (): RuleTime => ({ startSeconds: this.now, endSeconds: this.now }));
  }

  judge(host: string): 'ours' | 'released' | 'foreign' {
    const found = this.book.find(host);
    return found === undefined ? 'foreign' : found === RULES ? 'ours' : 'released';
  }
}

const FOREVER = Number.POSITIVE_INFINITY;

describe('the hosts of a gateway', () => {
  it('are those with a rule', () => {
    const test = new Book(rulesFor({ a: FOREVER }));
    expect([test.judge('a'), test.judge('b')]).toEqual(['ours', 'foreign']);
  });

  it('stay for ten minutes after a rule ended by the clock, though nobody asked before', () => {
    const judgeAfter = (seconds: number) => {
      const test = new Book(rulesFor({ a: 100_010 }));
      test.now += seconds;
      return test.judge('a');
    };
    expect([9, 10, 609, 610].map(judgeAfter)).toEqual(['ours', 'released', 'released', 'foreign']);
  });

  it('stay for two minutes after a rule was taken out, though nobody asked before', () => {
    const test = new Book(rulesFor({ a: FOREVER }));
    test.now += 50;
    test.book.replaceRules(rulesFor({ b: FOREVER }));
    expect([test.judge('a'), test.judge('b'), test.judge('c')]).toEqual(['released', 'ours', 'foreign']);
    test.now += 119;
    expect(test.judge('a')).toBe('released');
    test.now += 1;
    expect(test.judge('a')).toBe('foreign');
  });

  it('stay for ten minutes where they were asked for', () => {
    const test = new Book(rulesFor({ a: FOREVER }));
    expect(test.judge('a')).toBe('ours');
    test.book.replaceRules(rulesFor({}));
    test.now += 599;
    expect(test.judge('a')).toBe('released');
    test.now += 1;
    expect(test.judge('a')).toBe('foreign');
  });

  it('of the first of many changes are not forgotten for the last', () => {
    const test = new Book(rulesFor({ first: FOREVER }));
    for (let i = 0; i < 20; i++) {
      test.book.replaceRules(rulesFor({ [`h${i}`]: FOREVER }));
      test.now += 3;
    }
    expect(test.judge('first')).toBe('released');
    test.now += 200;
    expect(test.judge('first')).toBe('foreign');
  });
});
