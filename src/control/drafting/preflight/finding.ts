import { z } from 'zod';

/** How grave a finding is, gravest first. */
export const LEVELS = ['refuse', 'needs-third-approver', 'warn'] as const;

/** How grave a finding is. */
export type Level = (typeof LEVELS)[number];

/** Form of a finding as it is stored, answered and printed. */
export const findingSchema = z.object({
  /** Which check found it. */
  check: z.string(),
  level: z.enum(LEVELS),
  message: z.string(),
  /** Ids of the entries concerned, the first hundred; absent when it is about the notice as a whole. */
  entries: z.array(z.string()).readonly().optional(),
  /** How many entries are concerned; 1 for the notice as a whole. */
  count: z.number(),
  /** Whether an approving officer may override a refusal. What a node would refuse as well, nobody can. */
  overridable: z.boolean().optional(),
});

/** Something the pre-flight found. */
export type Finding = z.output<typeof findingSchema>;

/** Ids listed of one finding, and findings listed of one pre-flight. */
const ENTRIES_LISTED = 100;
const FINDINGS_LISTED = 500;

/** Collects findings: the same fault of many entries is one finding. */
export class FindingBook {
  readonly #byKey = new Map<string, Finding & { entries?: string[] }>();

  /** Adds a fault of the notice as a whole. */
  add(check: string, level: Level, message: string, overridable = false): void {
    this.#note(check, level, message, overridable, undefined);
  }

  /** Adds a fault of one entry. */
  addEntry(check: string, level: Level, message: string, entryId: string, overridable = false): void {
    this.#note(check, level, message, overridable, entryId);
  }

  #note(check: string, level: Level, message: string, overridable: boolean, entryId: string | undefined): void {
    const key = `${level}\0${check}\0${message}`;
    const known = this.#byKey.get(key);
    if (known === undefined) {
      const entries = entryId === undefined ? {} : { entries: [entryId] };
      const override = level === 'refuse' ? { overridable } : {};
      this.#byKey.set(key, { check, level, message, ...entries, count: 1, ...override });
    } else if (entryId !== undefined) {
      known.count++;
      if (known.entries!.length < ENTRIES_LISTED) known.entries!.push(entryId);
    }
  }

  /** Returns the findings, gravest first, then by check. */
  list(): Finding[] {
    return [...this.#byKey.values()].sort(compareFindings).slice(0, FINDINGS_LISTED);
  }
}

function compareFindings(one: Finding, other: Finding): number {
  return (
    LEVELS.indexOf(one.level) - LEVELS.indexOf(other.level) ||
    Number(one.overridable ?? false) - Number(other.overridable ?? false) ||
    compare(one.check, other.check) ||
    compare(one.message, other.message)
  );
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
