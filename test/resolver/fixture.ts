import { RuleClock } from '../../src/base/clock.ts';
import { createCounterBuffer, OUTCOME, type Outcome, SharedCounters } from '../../src/metrics/shared-counters.ts';
import { DataPlane, type ForwardOptions } from '../../src/resolver/data-plane.ts';
import {
  createArena,
  type DatagramIo,
  QUERY_SLOTS_AT,
  REPLY_SLOTS_AT,
  SLOT,
} from '../../src/resolver/io/datagram-io.ts';
import type { QueryStages } from '../../src/resolver/query-stages.ts';
import {
  formatSocketAddress,
  parseSocketAddress,
  readSocketAddress,
  writeSocketAddress,
} from '../../src/resolver/socket-address.ts';
import { createStages, type StageSettings } from '../../src/resolver/stage-settings.ts';
import type { RuleTable } from '../../src/rules/rule-table.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { composeQuery, type ParsedMessage, parseMessage, type QuerySpec } from '../dns/message.ts';
import { buildTable, NOW } from '../rules/fixture.ts';

export const STRUCTURED = 65_023;
export const CLIENT = '192.0.2.7:4444';
export const CLIENT6 = '[2001:db8::7]:5555';

export const SETTINGS: StageSettings = {
  allow: ['192.0.2.0/24', '2001:db8::/32'],
  responsesPerSecond: 0,
  rateLimitKey: 7,
  cookieSecret: Uint8Array.from({ length: 16 }, (_, i) => i),
  observe: false,
  checkTargets: true,
  maxTtlSeconds: 60,
  structuredOption: STRUCTURED,
};

/** A message that left through the fake sockets. */
export interface Answer {
  listener: number;
  client: string;
  message: Uint8Array;
}
export interface Forwarded {
  port: number;
  message: Uint8Array;
}

/** Sockets in memory: what is sent is kept, nothing is received but what the test brings. */
export class FakeIo implements DatagramIo {
  readonly arena: Uint8Array;
  readonly descriptors = [];
  readonly answers: Answer[] = [];
  readonly forwards: Forwarded[] = [];
  readonly renewed: number[] = [];

  constructor(pendingSlots: number) {
    this.arena = createArena(pendingSlots);
  }

  answer(listener: number, slot: number, message: number, length: number): void {
    const client = formatSocketAddress(readSocketAddress(this.arena, slot + SLOT.PEER));
    this.answers.push({ listener, client, message: this.arena.slice(message, message + length) });
  }

  forward(port: number, message: number, length: number): void {
    this.forwards.push({ port, message: this.arena.slice(message, message + length) });
  }

  renewPort(port: number): void {
    this.renewed.push(port);
  }

  run(): void {}
}

/** Writes a `struct sockaddr` of its own for an address such as `192.0.2.7:4444`. */
export function sockaddrOf(client: string): Uint8Array {
  const bytes = new Uint8Array(28);
  writeSocketAddress(parseSocketAddress(client, 53), bytes, 0);
  return bytes;
}

export interface PlaneSpec {
  table?: RuleTable;
  settings?: Partial<StageSettings>;
  forward?: Partial<ForwardOptions>;
}

/** A data plane on fake sockets and a fake clock. Upstream ports 0 and 1 lead to upstream 0, ports 2 and 3 to upstream 1. */
export class TestPlane {
  readonly clock = new FakeClock(NOW);
  readonly counters = new SharedCounters(createCounterBuffer());
  readonly upstreamUp: Int32Array;
  readonly options: ForwardOptions;
  readonly io: FakeIo;
  readonly stages: QueryStages;
  readonly plane: DataPlane;
  polls = 0;

  constructor(spec: PlaneSpec = {}) {
    this.options = {
      listen: [parseSocketAddress('192.0.2.1:53', 53), parseSocketAddress('[2001:db8::1]:53', 53)],
      ...{ upstreamCount: 2, portsPerUpstream: 2, pendingSlots: 64, timeoutMillis: 1_000, attempts: 3 },
      proxyProtocol: false,
      ...spec.forward,
    };
    this.upstreamUp = new Int32Array(this.options.upstreamCount).fill(1);
    this.io = new FakeIo(this.options.pendingSlots);
    const own = { counters: this.counters, clock: new RuleClock(this.clock) };
    this.stages = createStages({ ...SETTINGS, ...spec.settings }, own, spec.table ?? buildTable([]));
    this.plane = new DataPlane(this.io, this.stages, this.options, {
      counters: this.counters,
      upstreamUp: this.upstreamUp,
      poll: () => ++this.polls > 0,
      monotonicMillis: () => this.clock.monotonicMillis(),
    });
  }

  /** Brings one query as a batch of its own; returns what was answered at once. */
  ask(query: QuerySpec | Uint8Array, client = CLIENT, listener = 0): Answer | undefined {
    const message = query instanceof Uint8Array ? query : composeQuery(query);
    const count = this.io.answers.length;
    const slot = QUERY_SLOTS_AT;
    this.io.arena.set(sockaddrOf(client), slot + SLOT.PEER);
    this.io.arena.set(message, slot + SLOT.MESSAGE);
    this.plane.beginBatch();
    this.plane.onQuery(listener, slot, message.length);
    this.plane.endBatch();
    return this.io.answers[count];
  }

  /** Brings one reply from an upstream port; returns what was passed to the client. */
  reply(port: number, message: Uint8Array): Answer | undefined {
    const count = this.io.answers.length;
    this.io.arena.set(message, REPLY_SLOTS_AT + SLOT.MESSAGE);
    this.plane.beginBatch();
    this.plane.onReply(port, REPLY_SLOTS_AT, message.length);
    this.plane.endBatch();
    return this.io.answers[count];
  }

  /** Lets time go by and ticks. */
  pass(millis: number): boolean {
    this.clock.pass(millis);
    return this.plane.tick();
  }

  /** The last message sent to an upstream. */
  get forwarded(): Forwarded {
    return this.io.forwards.at(-1)!;
  }

  /** Counts of what became of queries, those above zero. */
  get outcomes(): Partial<Record<Outcome, number>> {
    const counts = Object.entries(OUTCOME).map(([name, i]) => [name, this.counters.outcome(i)] as const);
    return Object.fromEntries(counts.filter(([, count]) => count > 0));
  }
}

/** The upstream's reply to a forwarded query: its header made a response, its question, and `answers`. */
export function replyTo(query: Uint8Array, answers: readonly Uint8Array[] = [], flags = 0x8180): Uint8Array {
  const { questions, header } = parseMessage(query);
  const { name, type, class: qclass } = questions[0]!;
  const counts = [1, answers.length, 0, 0] as const;
  return composeQuery({ id: header.id, flags, name: name || '.', qtype: type, qclass, counts, answers });
}

/** Parses an answer, or throws when there is none. */
export function parseAnswer(answer: Answer | undefined): ParsedMessage {
  if (answer === undefined) throw new Error('there is no answer');
  return parseMessage(answer.message);
}
