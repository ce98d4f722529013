import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import { RuleClock } from '../../src/base/clock.ts';
import { createCounterBuffer, SharedCounters } from '../../src/metrics/shared-counters.ts';
import { type QueryStages, VERDICT } from '../../src/resolver/query-stages.ts';
import { createStages } from '../../src/resolver/stage-settings.ts';
import { RuleTable } from '../../src/rules/rule-table.ts';
import { type CompiledList, ListCompiler } from '../../src/sync/list-compiler.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { composeQuery, parseAnswer, TYPE } from '../support/dns-message.ts';
import { AUTHORITIES, LICENSEE, PACK_FILE, type StatementDraft, signStatement } from '../support/test-authority.ts';

/** Every scenario starts at this time. */
const START_SECONDS = Date.UTC(2026, 2, 1, 9) / 1000;

const answers = z.record(z.string(), z.string());

/**
 * One step: time passes until `at` (counted from the start), then the clock steps, then a statement is signed and reaches
 * every node, then nodes restart, then names are asked about. `ask` gives for each name (and type other than A) what the
 * node answers: `forwarded`, or RCODE, reference of the notice and time to live.
 */
const stepSchema = z.strictObject({
  at: z.string().optional(),
  clock: z.string().optional(),
  sign: z.looseObject({ type: z.string(), as: z.string().optional() }).optional(),
  void: z.string().optional(),
  restart: z.boolean().optional(),
  ask: answers.optional(),
  askOther: answers.optional(),
});

const scenarioSchema = z.strictObject({ title: z.string(), steps: z.array(stepSchema).min(1) });

/** A scenario file. */
export type Scenario = z.output<typeof scenarioSchema>;

export function readScenario(path: string | URL): Scenario {
  return scenarioSchema.parse(parse(readFileSync(path, 'utf8')));
}

/** What a step expected and what came of it, for a comparison that shows both whole. */
export interface StepOutcome {
  step: string;
  expected: unknown;
  actual: unknown;
}

/** Plays a scenario on a fake clock with two nodes of different licensees. */
export function playScenario({ steps }: Scenario): StepOutcome[] {
  const clock = new FakeClock(START_SECONDS);
  const register = new MemoryRegister();
  const node = new ScenarioNode(LICENSEE, register, clock);
  const other = new ScenarioNode('NSP-OTHER-2', register, clock);
  const outcomes: StepOutcome[] = [];
  let passedSeconds = 0;
  for (const [i, step] of steps.entries()) {
    const name = `step ${i + 1}${step.at === undefined ? '' : ` at ${step.at}`}`;
    if (step.at !== undefined) {
      const until = parseSpan(step.at);
      if (until < passedSeconds) throw new Error(`${name}: time only passes forwards`);
      clock.pass((until - passedSeconds) * 1000);
      passedSeconds = until;
    }
    if (step.clock !== undefined) clock.wall += parseSpan(step.clock) * 1000;
    if (step.sign !== undefined) register.sign(step.sign, Math.floor(clock.wall / 1000));
    for (const one of [node, other]) {
      if (step.restart) one.restart();
      else if (step.sign !== undefined || one.isDue()) one.compile();
    }
    if (step.sign !== undefined) {
      const fault = node.list!.verdicts.find(({ ok, name }) => !ok && name === register.newest)?.code;
      outcomes.push({ step: `${name}: void`, expected: step.void, actual: fault });
    }
    for (const [asked, target] of [
      [step.ask, node],
      [step.askOther, other],
    ] as const) {
      if (asked === undefined) continue;
      const actual = Object.fromEntries(Object.keys(asked).map((query) => [query, target.answer(query)]));
      outcomes.push({ step: name, expected: asked, actual });
    }
  }
  return outcomes;
}

const UNIT_SECONDS: Record<string, number> = { d: 86_400, h: 3600, m: 60, s: 1 };

/** Reads `30d`, `-1d`, `30d-1s`. */
function parseSpan(text: string): number {
  if (!/^([+-]?\d+[dhms])+$/.test(text)) throw new Error(`${text} is no span`);
  return [...text.matchAll(/([+-]?\d+)([dhms])/g)].reduce(
    (sum, [, n, unit]) => sum + Number(n) * UNIT_SECONDS[unit!]!,
    0,
  );
}

/** A register in memory. */
class MemoryRegister {
  newest = '';
  readonly #leaves: { name: string; key: string; envelope: Buffer }[] = [];
  readonly #annexes = new Map<string, Uint8Array>();
  readonly #ids = new Map<string, string>();

  /** Signs a statement; `$label` anywhere in it stands for the id of the statement signed `as: label`. */
  sign({ as, ...draft }: { as?: string } & StatementDraft, nowSeconds: number): void {
    const complete = JSON.parse(JSON.stringify(draft).replace(/\$([a-z]+)/g, (_, label) => this.#ids.get(label)!));
    const { id, envelope, annex } = signStatement(complete, nowSeconds);
    this.newest = `${this.#leaves.length} ${as ?? draft.type}`;
    this.#leaves.push({ name: this.newest, key: this.newest, envelope });
    if (annex) this.#annexes.set(annex.digest, annex.bytes);
    if (as !== undefined) this.#ids.set(as, id);
  }

  read() {
    return {
      authorities: AUTHORITIES,
      leaves: this.#leaves,
      annexes: { read: (digest: string) => this.#annexes.get(digest) },
      fingerprint: String(this.#leaves.length),
    };
  }
}

/** A node's rules and clock as the running program puts them together, without sockets. */
class ScenarioNode {
  list: CompiledList | undefined;
  readonly #licensee: string;
  readonly #register: MemoryRegister;
  readonly #clock: FakeClock;
  readonly #counters = new SharedCounters(createCounterBuffer());
  #compiler: ListCompiler;
  #floorSeconds = 0;
  #rules: RuleClock;
  #stages: QueryStages | undefined;

  constructor(licensee: string, register: MemoryRegister, clock: FakeClock) {
    this.#licensee = licensee;
    this.#register = register;
    this.#clock = clock;
    this.#rules = new RuleClock(clock);
    this.#compiler = this.#createCompiler();
  }

  /** Whether a statement signed ahead starts to count. */
  isDue(): boolean {
    return this.list?.nextStatementSeconds !== undefined && this.list.nextStatementSeconds <= this.#nowSeconds();
  }

  #nowSeconds(): number {
    return Math.max(this.#clock.wall / 1000, this.#floorSeconds);
  }

  compile(): void {
    this.list = this.#compiler.compile(this.#register.read(), 'terms', this.#nowSeconds());
    this.#floorSeconds = Math.max(this.#floorSeconds, this.list.newestSignedAtSeconds ?? 0);
    this.#rules.raiseFloor(this.#floorSeconds);
    const table = new RuleTable(this.list.table);
    if (this.#stages === undefined) this.#stages = this.#createStages(table);
    else this.#stages.useTable(table);
  }

  /** Starts anew: of what the node knew of the time only the floor is left. */
  restart(): void {
    this.#rules.read();
    this.#floorSeconds = Math.max(this.#floorSeconds, Math.floor(this.#rules.endSeconds));
    this.#rules = new RuleClock(this.#clock, this.#floorSeconds);
    this.#stages = undefined;
    this.#compiler = this.#createCompiler();
    this.compile();
  }

  #createCompiler(): ListCompiler {
    return new ListCompiler({
      licensee: this.#licensee,
      pack: readFileSync(PACK_FILE),
      answer: { soaMname: 'warta.invalid', soaRname: 'hostmaster.warta.invalid', operator: 'Test ISP', language: 'en' },
    });
  }

  #createStages(table: RuleTable): QueryStages {
    const settings = {
      allow: ['127.0.0.0/8'],
      responsesPerSecond: 0,
      rateLimitKey: 0,
      cookieSecret: new Uint8Array(16),
      observe: false,
      checkTargets: true,
      maxTtlSeconds: 60,
      structuredOption: -1,
    };
    return createStages(settings, { counters: this.#counters, clock: this.#rules }, table);
  }

  /** Answers a query as a scenario spells it: `www.bad.example` or `www.bad.example HTTPS`. */
  answer(query: string): string {
    const [name, type = 'A'] = query.split(' ');
    const message = composeQuery(name!, { type: TYPE[type as keyof typeof TYPE], edns: {} });
    const wire = new Uint8Array(2048);
    wire.set([2, 0, 0, 53, 127, 0, 0, 1]);
    wire.set(message, 32);
    this.#stages!.readClock();
    const verdict = this.#stages!.decide(wire, 32, message.length, 0, 1232, false);
    if (verdict === VERDICT.FORWARD) return 'forwarded';
    const { rcode, ede, soa } = parseAnswer(Buffer.from(wire.subarray(32, 32 + verdict)));
    if (ede?.code !== 16 || soa?.ttl !== soa?.minimum)
      return `not as blocked answers are: ${JSON.stringify({ ede, soa })}`;
    return `${rcode} ${ede?.text.replace(/^notice /, '')} ${soa?.ttl}`;
  }
}
