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
    const judgeAfter = (seconds: number, host = 'a') => {
      const test = new Book(rulesFor({ a: FOREVER }));
      test.now += 50;
      test.book.replaceRules(rulesFor({ b: FOREVER }));
      test.now += seconds;
      return test.judge(host);
    };
    expect([0, 119, 120].map((seconds) => judgeAfter(seconds))).toEqual(['released', 'released', 'foreign']);
    expect([judgeAfter(0, 'b'), judgeAfter(0, 'c')]).toEqual(['ours', 'foreign']);
  });

  it('stay for ten minutes where they were asked for', () => {
    const judgeAfter = (seconds: number) => {
      const test = new Book(rulesFor({ a: FOREVER }));
      expect(test.judge('a')).toBe('ours');
      test.book.replaceRules(rulesFor({}));
      test.now += seconds;
      return test.judge('a');
    };
    expect([599, 600].map(judgeAfter)).toEqual(['released', 'foreign']);
  });

  it('stay while they are asked for: a resolver that is behind leads people here for longer', () => {
    const test = new Book(rulesFor({ a: FOREVER }));
    test.book.replaceRules(rulesFor({}));
    for (let i = 0; i < 5; i++) {
      test.now += i === 0 ? 100 : 599;
      expect(test.judge('a')).toBe('released');
    }
    test.now += 600;
    expect(test.judge('a')).toBe('foreign');
  });

  it('are known ten minutes before their first rule begins: a resolver whose clock is ahead leads people here', () => {
    const rules: UrlRules = { findHost: (_, { startSeconds }) => (startSeconds >= 200_000 ? RULES : undefined) };
    const judgeBefore = (seconds: number) => {
      const test = new Book(rules);
      test.now = 200_000 - seconds;
      return test.judge('a');
    };
    expect([601, 600, 1, 0].map(judgeBefore)).toEqual(['foreign', 'released', 'released', 'ours']);
  });

  it('stay when only a step of our own clock ended their rules, or keeps them from beginning', () => {
    const until = (endSeconds: number): UrlRules => ({
      findHost: (_, time) => (time.startSeconds >= 100_000 && time.endSeconds < endSeconds ? RULES : undefined),
    });
    const judge = (startSeconds: number, endSeconds: number) => {
      const found = new HostBook(until(110_000), () => ({ startSeconds, endSeconds })).find('a');
      return found === undefined ? 'foreign' : found === RULES ? 'ours' : 'released';
    };
    // Set forward by ten days, and back by ten.
    expect(judge(105_000, 964_000)).toBe('released');
    expect(judge(1_000, 105_000)).toBe('released');
    expect(judge(105_000, 105_000)).toBe('ours');
  });

  it('of the first of many changes are not forgotten for the last', () => {
    const judgeAfter = (seconds: number) => {
      const test = new Book(rulesFor({ first: FOREVER }));
      for (let i = 0; i < 20; i++) {
        test.book.replaceRules(rulesFor({ [`h${i}`]: FOREVER }));
        test.now += 3;
      }
      test.now += seconds;
      return test.judge('first');
    };
    expect([0, 200].map(judgeAfter)).toEqual(['released', 'foreign']);
  });
});
