import { describeError, type ErrorCode, WartaError } from '../base/errors.ts';

/** Something that was refused or went wrong while following the register, and how often. */
export interface Incident {
  readonly code: ErrorCode;
  /** The last one in words. */
  reason: string;
  count: number;
  readonly firstSeconds: number;
  lastSeconds: number;
}

/** A reason that changes at every poll is told so often at most: a log of every one of them would hide the others. */
const TOLD_EVERY_SECONDS = 600;

/** What was refused and why, by code: bounded, however often it happens. */
export class IncidentBook {
  readonly #byCode = new Map<ErrorCode, Incident>();
  readonly #told = new Map<ErrorCode, { reason: string; atSeconds: number }>();
  readonly #onIncident: ((incident: Incident) => void) | undefined;

  /** `onIncident` is told the first of each kind, and then when the reason has changed, every ten minutes at most. */
  constructor(onIncident?: (incident: Incident) => void) {
    this.#onIncident = onIncident;
  }

  /** Takes note of a failure; one that is no `WartaError` is a fault of ours and counts as `store-failed`. */
  note(error: unknown, nowSeconds: number): void {
    const code = error instanceof WartaError ? error.code : 'store-failed';
    const reason = describeError(error);
    const known = this.#byCode.get(code);
    const incident = known ?? { code, reason, count: 0, firstSeconds: nowSeconds, lastSeconds: nowSeconds };
    incident.reason = reason;
    incident.count++;
    incident.lastSeconds = nowSeconds;
    this.#byCode.set(code, incident);
    const told = this.#told.get(code);
    if (told !== undefined && (told.reason === reason || nowSeconds - told.atSeconds < TOLD_EVERY_SECONDS)) return;
    this.#told.set(code, { reason, atSeconds: nowSeconds });
    this.#onIncident?.({ ...incident });
  }

  list(): Incident[] {
    return [...this.#byCode.values()].map((incident) => ({ ...incident }));
  }
}
