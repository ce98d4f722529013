export interface HealthMonitorOptions {
  /** How many targets there are. */
  count: number;
  intervalMillis: number;
  /** Whether targets count as up before the first check. */
  startsUp: boolean;
  /** Asks one target; never rejects, and ends in bounded time. */
  check(target: number): Promise<boolean>;
  /** Called when a target's state changes. */
  onChange(target: number, up: boolean): void;
}

/** A target is down after so many checks without an answer; one answer makes it up again. */
const FAILURES_TO_DOWN = 2;

/** Checks targets at a fixed interval and tells the data plane by one shared word each. */
export class HealthMonitor {
  /** One word for each target: 1 while it is up. Shared with the data-plane threads. */
  readonly up: Int32Array;
  readonly #options: HealthMonitorOptions;
  readonly #failures: number[];
  #timer: NodeJS.Timeout | undefined;
  #checking = false;

  constructor(options: HealthMonitorOptions) {
    this.#options = options;
    const sizeBytes = Math.max(4, options.count * 4);
    this.up = new Int32Array(new SharedArrayBuffer(sizeBytes)).fill(options.startsUp ? 1 : 0);
    this.#failures = Array.from({ length: options.count }, () => 0);
  }

  start(): void {
    this.#timer = setInterval(() => void this.checkAll(), this.#options.intervalMillis);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Checks every target once; nothing when a check is still under way. */
  async checkAll(): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    const answered = await Promise.all(this.#failures.map((_, target) => this.#options.check(target)));
    this.#checking = false;
    answered.forEach((alive, target) => {
      this.#record(target, alive);
    });
  }

  #record(target: number, alive: boolean): void {
    this.#failures[target] = alive ? 0 : this.#failures[target]! + 1;
    const wasUp = Atomics.load(this.up, target) === 1;
    const up = alive || (wasUp && this.#failures[target]! < FAILURES_TO_DOWN);
    Atomics.store(this.up, target, up ? 1 : 0);
    if (up !== wasUp) this.#options.onChange(target, up);
  }
}
