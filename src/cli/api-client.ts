import { request } from 'undici';
import { describeError, type ErrorCode, WartaError } from '../base/errors.ts';
import { escapeControls } from './output.ts';

/** An answer of the control API. */
export interface ApiAnswer {
  readonly status: number;
  /** Parsed JSON; text for anything else. */
  // biome-ignore lint/suspicious/noExplicitAny: its form depends on the route
  readonly body: any;
  readonly etag?: string;
}

/** What is sent. A `body` that is text or bytes goes as it is, with its `type`; anything else as JSON. */
export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly token?: string;
  readonly body?: unknown;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const ANSWER_MAX_BYTES = 64 * 1024 * 1024;
const TIMEOUT_MILLIS = 60_000;

/**
 * Sends one request to a control API and returns the answer, whatever its status.
 *
 * @throws {WartaError} `socket-failed` when it cannot be reached, `response-oversized`.
 */
export async function askApi(
  base: string,
  { method, path, token, body, type, headers }: ApiRequest,
): Promise<ApiAnswer> {
  const isRaw = typeof body === 'string' || body instanceof Uint8Array;
  const url = new URL(path.replace(/^\//, ''), base.endsWith('/') ? base : `${base}/`);
  try {
    const answer = await request(url, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': type ?? 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : isRaw ? (body as string) : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MILLIS),
    });
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of answer.body) {
      sizeBytes += chunk.length;
      if (sizeBytes > ANSWER_MAX_BYTES) throw new WartaError('response-oversized', `${url} answered too much`);
      chunks.push(chunk);
    }
    const text = Buffer.concat(chunks).toString();
    const isJson = /json/.test(String(answer.headers['content-type'])) && text !== '';
    return { status: answer.statusCode, body: isJson ? parseJson(text) : text, etag: one(answer.headers.etag) };
  } catch (cause) {
    if (cause instanceof WartaError) throw cause;
    throw new WartaError('socket-failed', `cannot reach the control API at ${base}: ${describeError(cause)}`, {
      cause,
    });
  }
}

/**
 * The same, for when anything but success is a failure.
 *
 * @throws {WartaError} with the code of the refusal; `socket-failed` when the answer is not that of a control API.
 */
export async function callApi(base: string, sent: ApiRequest): Promise<ApiAnswer> {
  const answer = await askApi(base, sent);
  if (answer.status < 300) return answer;
  const { code, detail } = Object(answer.body);
  if (typeof code === 'string' && typeof detail === 'string')
    throw new WartaError(code as ErrorCode, escapeControls(detail));
  const reason = `answered ${answer.status}: is it the address of a register's control API?`;
  throw new WartaError('socket-failed', `${base} ${reason}`);
}

/** Something between here and there may call a page JSON: then it is text. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
