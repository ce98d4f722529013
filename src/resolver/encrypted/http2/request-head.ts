import { FIELD_KIND, type HeaderField } from './header-field.ts';
import type { FieldSink } from './hpack-decoder.ts';

const DIGITS = /^\d{1,15}$/;
/** The body's length is not told. */
export const NO_LENGTH = -1;

/** Bounds of a request's header fields. */
export interface HeadLimits {
  /** Octets of names and values, and 32 for each field (RFC 9113 §6.5.2). */
  maxHeaderBytes: number;
  maxHeaderFields: number;
}

/** What one header block says, as far as it matters here; reused for the next. */
export class RequestHead implements FieldSink {
  method: string | undefined;
  target: string | undefined;
  contentType: string | undefined;
  contentLength: string | undefined;
  /** More than the limits allow. */
  isOversized = false;
  readonly #limits: HeadLimits;
  #scheme: string | undefined;
  #authority: string | undefined;
  /** Breaks a rule of RFC 9113 §8.2 or §8.3. */
  #isFlawed = false;
  #hasPseudo = false;
  #isPastPseudo = false;
  #sizeBytes = 0;
  #fields = 0;

  constructor(limits: HeadLimits) {
    this.#limits = limits;
  }

  reset(): void {
    this.method = undefined;
    this.target = undefined;
    this.contentType = undefined;
    this.contentLength = undefined;
    this.isOversized = false;
    this.#scheme = undefined;
    this.#authority = undefined;
    this.#isFlawed = false;
    this.#hasPseudo = false;
    this.#isPastPseudo = false;
    this.#sizeBytes = 0;
    this.#fields = 0;
  }

  take(field: HeaderField): void {
    const { maxHeaderBytes, maxHeaderFields } = this.#limits;
    this.#sizeBytes += field.sizeBytes;
    if (this.#sizeBytes > maxHeaderBytes || ++this.#fields > maxHeaderFields) {
      this.isOversized = true;
      return;
    }
    const { kind, value } = field;
    switch (kind) {
      case FIELD_KIND.METHOD:
        this.method = this.#takePseudo(this.method, value);
        break;
      case FIELD_KIND.SCHEME:
        this.#scheme = this.#takePseudo(this.#scheme, value);
        break;
      case FIELD_KIND.AUTHORITY:
        this.#authority = this.#takePseudo(this.#authority, value);
        break;
      case FIELD_KIND.PATH:
        this.target = this.#takePseudo(this.target, value);
        break;
      case FIELD_KIND.FLAWED:
        this.#isFlawed = true;
        break;
      default:
        this.#isPastPseudo = true;
        if (kind === FIELD_KIND.CONTENT_TYPE) this.contentType ??= value;
        if (kind === FIELD_KIND.CONTENT_LENGTH) this.#takeLength(value);
    }
  }

  /** Whether this is the head of a request as it must be (RFC 9113 §8.3.1). CONNECT has no path and no scheme (§8.5). */
  get isRequest(): boolean {
    if (this.#isFlawed || this.method === undefined || this.method === '') return false;
    if (this.method === 'CONNECT') return this.target === undefined && this.#scheme === undefined;
    return this.target !== undefined && this.target !== '' && this.#scheme !== undefined;
  }

  /** Whether these are fields that may come after a body. */
  get isTrailers(): boolean {
    return !this.#isFlawed && !this.#hasPseudo;
  }

  /** Octets that the body must have, or `NO_LENGTH`. */
  get bodyBytes(): number {
    return this.contentLength === undefined ? NO_LENGTH : Number(this.contentLength);
  }

  /** Pseudo-fields come before all others, each once. */
  #takePseudo(earlier: string | undefined, value: string): string {
    if (this.#isPastPseudo || earlier !== undefined) this.#isFlawed = true;
    this.#hasPseudo = true;
    return value;
  }

  #takeLength(value: string): void {
    if (!DIGITS.test(value) || (this.contentLength ?? value) !== value) this.#isFlawed = true;
    this.contentLength = value;
  }
}
