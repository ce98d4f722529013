import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, readFileSync, writeFileSync } from 'node:fs';
import { createServer, request as httpRequest, type Server } from 'node:http';
import { type AddressInfo, createServer as createRawServer, type Server as RawServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Gateway } from '../../src/gateway/gateway.ts';
import { hasProgram, runProgram } from '../support/programs.ts';
import { waitUntil } from '../support/wait.ts';
import { exchange, HOST, LISTED, listPage, NOTICE, RawClient, startGateway, startNginx } from './fixture.ts';
import { createUrlRules } from './naive-rules.ts';

/** An origin that shows what reached it. */
function createEchoOrigin(): Server {
  return createServer({ requireHostHeader: false }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('error', () => {});
    request.on('end', () => {
      const { method, url, rawHeaders } = request;
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify({ method, url, rawHeaders, body: Buffer.concat(chunks).toString('latin1') }));
    });
  });
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** What the echoing origin saw of a raw request. */
async function echo(
  port: number,
  request: string,
): Promise<{ method: string; url: string; rawHeaders: string[]; body: string }> {
  const answer = await exchange(port, request);
  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  return JSON.parse(Buffer.from(answer.slice(answer.indexOf('{'), answer.lastIndexOf('}') + 1), 'latin1').toString());
}

const get = (target: string, host = HOST, more = '') =>
  `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n${more}\r\n`;

const servers: Server[] = [];
const origins: RawServer[] = [];
afterAll(() => {
  for (const origin of origins) origin.close();
  for (const server of servers) server.closeAllConnections();
});

describe('the gateway over HTTP', () => {
  let gateway: Gateway;
  let port: number;
  let originPort: number;

  beforeAll(async () => {
    const origin = createEchoOrigin();
    servers.push(origin);
    originPort = await listen(origin);
    const soon = Math.floor(Date.now() / 1000) + 100;
    gateway = await startGateway({
      originPort,
      entries: [
        listPage(LISTED),
        listPage(`http://${HOST}/brief`, { endSeconds: soon }),
        listPage(`http://${HOST}/ended`, { endSeconds: 1 }),
        listPage(`http://${HOST}/later`, { fromSeconds: soon }),
        listPage(`http://${HOST}/any`, { query: 'any' }),
        listPage('http://xn--bcher-kva.example/'),
        { host: 'redirected.example', subtree: true, notice: NOTICE, fromSeconds: 0 },
      ],
    });
    port = gateway.httpPort;
  });

  it('answers a listed page with 451, who blocked it, why, and for how long the answer holds', async () => {
    const answer = await exchange(port, get('/listed'));
    expect(answer).toMatch(/^HTTP\/1\.1 451 Unavailable For Legal Reasons\r\n/);
    expect(answer).toContain('\r\nLink: <https://operator.example/>; rel="blocked-by"\r\n');
    expect(answer).toContain('\r\nVary: Accept-Language\r\n');
    expect(answer).toContain('\r\nCache-Control: max-age=300\r\n');
    expect(answer).toContain('Notice: TEST/1');
  });

  it('lets no cache keep the answer beyond the rule', async () => {
    const age = Number(/max-age=(\d+)/.exec(await exchange(port, get('/brief')))![1]);
    expect(age).toBeLessThanOrEqual(100);
    expect(age).toBeGreaterThan(50);
  });

  it.each(['/ended', '/later', '/listed/', '/listed?x', '/Listed', '/'])('passes %s', async (target) => {
    expect((await echo(port, get(target))).url).toBe(target);
  });

  it.each([
    ['/any?x=1', HOST],
    ['/listed', 'SITE.example.'],
    ['/listed', `${HOST}:80`],
    [LISTED, 'other.example'],
    [`http://${HOST}:80/%6cisted`, HOST],
    ['/', 'b\xc3\xbccher.example'],
    ['/whatever', 'redirected.example'],
    ['/', 'www.redirected.example'],
  ])('blocks %s of host %s', async (target, host) => {
    expect(await exchange(port, get(target, host))).toMatch(/^HTTP\/1\.1 451 /);
  });

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'PROPFIND'])(
    'blocks a listed page for %s too',
    async (method) => {
      const answer = await exchange(
        port,
        `${method} /listed HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 451 /);
    },
  );

  it('sends no body with a 451 to HEAD', async () => {
    const answer = await exchange(port, get('/listed').replace('GET', 'HEAD'));
    expect(answer).toMatch(/^HTTP\/1\.1 451 [\s\S]*\r\n\r\n$/);
  });

  it.each([
    ['other.example', '/'],
    ['sub.site.example', '/'],
    [`${HOST}:8080`, '/'],
    ['127.0.0.1', '/'],
    ['[::1]', '/'],
    [HOST, 'https://site.example/'],
    [HOST, 'http://other.example/'],
  ])('is no proxy for host %s, target %s', async (host, target) => {
    expect(await exchange(port, get(target, host))).toMatch(/^HTTP\/1\.1 4(21|00) /);
  });

  it('passes fields on in their order, their case and as often as they came, without those of the connection', async () => {
    const { rawHeaders } = await echo(
      port,
      `GET /x HTTP/1.1\r\nX-One: 1\r\nhOsT: ${HOST}\r\nx-oNE: 2\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: x\r\nTE: trailers, deflate\r\nAccept-Encoding: br\r\nX-Eight: \xe9\r\n\r\n`,
    );
    const own = rawHeaders.slice(4);
    expect(rawHeaders.slice(0, 4)).toEqual(['host', HOST, 'connection', 'keep-alive']);
    expect(own).toEqual(['X-One', '1', 'x-oNE', '2', 'TE', 'trailers', 'Accept-Encoding', 'br', 'X-Eight', '\xe9']);
  });

  it('tells the origin nothing of the client', async () => {
    const { rawHeaders } = await echo(port, get('/x'));
    expect(rawHeaders.join('\n')).not.toMatch(/127\.0\.0\.1|forwarded|via/i);
  });

  it('asks the origin for the host of an absolute-form target', async () => {
    const { url, rawHeaders } = await echo(port, get(`http://${HOST}?a=1`, 'other.example'));
    expect(url).toBe('/?a=1');
    expect(rawHeaders.slice(0, 2)).toEqual(['host', HOST]);
  });

  it.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'QUERY'])(
    'passes %s with a body on, by length and in chunks',
    async (method) => {
      const head = `${method} /x HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n`;
      const plain = await echo(port, `${head}Content-Length: 5\r\n\r\nhello`);
      expect(plain).toMatchObject({ method, body: 'hello' });
      expect(plain.rawHeaders.map((one) => one.toLowerCase())).toContain('content-length');
      const chunked = await echo(
        port,
        `${head}Transfer-Encoding: chunked\r\n\r\n2;x=1\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n`,
      );
      expect(chunked).toMatchObject({ method, body: 'hello' });
    },
  );

  it('answers requests sent together in their order', async () => {
    const answer = await exchange(
      port,
      [
        `GET /one HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`,
        `GET /listed HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`,
        get('/three'),
      ].join(''),
    );
    expect(answer.replace(/[\s\S]*?(\/one|TEST\/1|\/three)/g, '$1 ').replace(/ [^ ]*$/, '')).toBe('/one TEST/1 /three');
  });

  it('serves a host on after its last rule ended, because caches still point here', async () => {
    const page = listPage('http://released.example/x');
    const other = await startGateway({ originPort, entries: [page] });
    expect(await exchange(other.httpPort, get('/x', 'released.example'))).toMatch(/^HTTP\/1\.1 451 /);
    other.setRules(createUrlRules([]));
    expect(await exchange(other.httpPort, get('/x', 'released.example'))).toMatch(/^HTTP\/1\.1 200 /);
    expect(await exchange(other.httpPort, get('/x', 'never.example'))).toMatch(/^HTTP\/1\.1 421 /);
  });
});

describe('answers of origins', () => {
  let port: number;

  beforeAll(async () => {
    const origin = createRawServer((socket) => {
      socket.on('error', () => {}).on('data', (request) => answerOddly(request.toString().split(' ')[1]!, socket));
    });
    origins.push(origin);
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
    const originPort = (origin.address() as AddressInfo).port;
    const gateway = await startGateway({ originPort, origins: { headersSeconds: 1 } });
    port = gateway.httpPort;
  });

  /** Answers by hand, so that nothing is put right. */
  function answerOddly(target: string, socket: Socket): void {
    const answers: Record<string, string> = {
      '/fields':
        'HTTP/1.1 200 Fine indeed\r\nset-COOKIE: a=1\r\nSet-Cookie: b=2\r\nX-A: \xe9\r\nConnection: X-Drop\r\nX-Drop: 1\r\nContent-Length: 2\r\n\r\nok',
      '/trailers':
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n',
      '/hints':
        'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
      '/cut': 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok',
      '/split': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!',
      '/until-close': 'HTTP/1.1 200 OK\r\n\r\nuntil the end',
      '/no-content': 'HTTP/1.1 204 No Content\r\n\r\n',
      '/no-content-of-two': 'HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n',
      '/latin-reason': 'HTTP/1.1 404 Pas trouv\xe9\r\nContent-Length: 2\r\n\r\nok',
      '/utf-8-reason': 'HTTP/1.1 404 Pas trouv\xc3\xa9\r\nContent-Length: 2\r\n\r\nok',
      '/odd-reason': 'HTTP/1.1 404 a\x01b\r\nContent-Length: 2\r\n\r\nok',
      '/odd-status': 'HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok',
      '/two-codings': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
      '/both-lengths': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n',
      '/low-status': 'HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok',
      '/switch-unasked': 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n',
      '/odd-field': 'HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 2\r\n\r\nok',
      '/folded': 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok',
      '/large-head': `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(70_000)}\r\nContent-Length: 2\r\n\r\nok`,
      '/other-protocol': 'SSH-2.0-x\r\n',
      '/two-answers':
        'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
      '/not-modified': 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 5\r\n\r\n',
    };
    if (target === '/many-hints') return floodHints(socket);
    const answer = answers[target];
    if (answer !== undefined) socket.write(Buffer.from(answer, 'latin1'));
    if (/cut|split|until|gone|large/.test(target)) socket.end();
  }

  /** Sends hints for as long as anybody takes them. */
  function floodHints(socket: Socket): void {
    const hints = Buffer.from('HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n'.repeat(200));
    const send = (left: number) => {
      if (left === 0) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else socket.write(hints, () => send(left - 1));
    };
    send(50);
  }

  it('keep their fields as they are', async () => {
    const answer = await exchange(port, get('/fields'));
    expect(answer).toMatch(
      /^HTTP\/1\.1 200 Fine indeed\r\nset-COOKIE: a=1\r\nSet-Cookie: b=2\r\nX-A: \xe9\r\nContent-Length: 2\r\n/,
    );
    expect(answer).not.toContain('X-Drop');
  });

  it('keep their trailers', async () => {
    expect(await exchange(port, get('/trailers'))).toMatch(/Trailer: X-Sum[\s\S]*2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n$/);
  });

  it('lose their trailers where the client cannot know them', async () => {
    const answer = await exchange(port, `GET /trailers HTTP/1.0\r\nHost: ${HOST}\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nok$/);
    expect(answer).not.toMatch(/trailer|chunked/i);
  });

  it('may begin with early hints', async () => {
    expect(await exchange(port, get('/hints'))).toMatch(/^HTTP\/1\.1 103 [\s\S]*rel=preload\r\n\r\nHTTP\/1\.1 200 OK/);
  });

  it('may begin with some early hints, and with no flood of them', async () => {
    const answer = await exchange(port, get('/many-hints'));
    expect(answer.match(/HTTP\/1\.1 103 /g)!.length).toBeLessThanOrEqual(16);
    expect(answer).toMatch(/HTTP\/1\.1 200 OK\r\n[\s\S]*ok$/);
  });

  it('that are cut are cut for the client too', async () => {
    const answer = await exchange(port, get('/cut'));
    expect(answer).toMatch(/Content-Length: 10\r\n[\s\S]*\r\n\r\n(ok)?$/);
  });

  it('may last until the connection closes', async () => {
    expect(await exchange(port, get('/until-close'))).toMatch(/chunked[\s\S]*d\r\nuntil the end\r\n0\r\n\r\n$/);
  });

  it.each(['/no-content', '/not-modified'])('may have no body: %s', async (target) => {
    expect(await exchange(port, get(target))).toMatch(/^HTTP\/1\.1 (204|304) [\s\S]*\r\n\r\n$/);
  });

  it('have no length where they must not', async () => {
    expect(await exchange(port, get('/no-content-of-two'))).not.toMatch(/content-length/i);
  });

  it.each([
    ['/latin-reason', '404 Not Found'],
    ['/utf-8-reason', '404 Pas trouv\xc3\xa9'],
    ['/odd-reason', '404 Not Found'],
    ['/odd-status', '999 Odd'],
  ])('may give an odd reason: %s', async (target, line) => {
    const answer = await exchange(port, get(target));
    expect(answer).toMatch(/\r\n\r\nok$/);
    expect(answer.slice(9, answer.indexOf('\r\n'))).toBe(line);
  });

  it('are the first of what comes, and the rest reaches nobody', async () => {
    const two = `GET /two-answers HTTP/1.1\r\nHost: ${HOST}\r\n\r\n${get('/fields')}`;
    const answer = await exchange(port, two);
    expect(answer).not.toContain('poison');
    expect(answer).toMatch(/Fine indeed/);
  });

  it.each([
    '/split',
    '/gone',
    '/two-codings',
    '/both-lengths',
    '/low-status',
    '/switch-unasked',
    '/odd-field',
    '/folded',
    '/large-head',
    '/other-protocol',
  ])('that make no sense are 502: %s', async (target) => {
    expect(await exchange(port, get(target))).toMatch(
      /^HTTP\/1\.1 502 Bad Gateway\r\n[\s\S]*the origin cannot be reached\n$/,
    );
  });

  it('that do not come are 504', async () => {
    expect(await exchange(port, get('/never'))).toMatch(/^HTTP\/1\.1 504 /);
  });
});

describe('origins', () => {
  it.each([
    ['that refuse the connection', { ports: { 80: 1 } }],
    [
      'without an address',
      { resolvers: { resolve4: () => Promise.reject(new Error('no')), resolve6: async () => [] } },
    ],
    ['with a loopback address', { allowedPrefixes: [] }],
  ])('%s are 502', async (_what, origins) => {
    const gateway = await startGateway({ originPort: 1, origins });
    expect(await exchange(gateway.httpPort, get('/'))).toMatch(/^HTTP\/1\.1 502 /);
    expect(gateway.readings.http()['origin-failed']).toBe(1);
  });
});

describe.skipIf(!hasProgram('nginx') || !hasProgram('curl'))('the gateway before a real nginx', () => {
  let port: number;
  let gateway: Gateway;
  let folder: string;
  const file = randomBytes(300_000);

  beforeAll(async () => {
    const nginx = await startNginx(
      () => `client_max_body_size 0; gzip on; gzip_types text/plain; gzip_min_length 1;
      location /put/ { dav_methods PUT; create_full_put_path on; client_body_buffer_size 64k; }`,
    );
    folder = nginx.folder;
    writeFileSync(join(folder, 'file.bin'), file);
    writeFileSync(join(folder, 'text.txt'), 'warta '.repeat(5_000));
    gateway = await startGateway({ originPort: nginx.port });
    port = gateway.httpPort;
  });

  const curl = (...args: string[]) =>
    runProgram('curl', ['-s', '--max-time', '60', '--connect-to', `${HOST}:80:127.0.0.1:${port}`, ...args]);
  const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

  it('passes a file whole', async () => {
    const to = join(folder, 'got.bin');
    await curl('-o', to, `http://${HOST}/file.bin`);
    expect(sha(readFileSync(to))).toBe(sha(file));
  });

  it('passes ranges', async () => {
    const to = join(folder, 'range.bin');
    const { stdout } = await curl('-r', '100-299', '-D', '-', '-o', to, `http://${HOST}/file.bin`);
    expect(stdout).toMatch(/^HTTP\/1\.1 206 [\s\S]*content-range: bytes 100-299\/300000/i);
    expect(readFileSync(to).equals(file.subarray(100, 300))).toBe(true);
    const many = await curl('-r', '0-1,5-6', '-D', '-', '-o', to, `http://${HOST}/file.bin`);
    expect(many.stdout).toMatch(/multipart\/byteranges/i);
  });

  it('leaves compressed bodies as they are', async () => {
    const to = join(folder, 'text.gz');
    const { stdout } = await curl('-H', 'Accept-Encoding: gzip', '-D', '-', '-o', to, `http://${HOST}/text.txt`);
    expect(stdout).toMatch(/content-encoding: gzip/i);
    expect(stdout).toMatch(/transfer-encoding: chunked/i);
    expect(gunzipSync(readFileSync(to)).toString()).toBe('warta '.repeat(5_000));
  });

  it('answers HEAD as the origin does', async () => {
    const { stdout } = await curl('-I', `http://${HOST}/file.bin`);
    expect(stdout).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 300000\r\n/);
  });

  it('revalidates', async () => {
    const etag = /etag: (\S+)/i.exec((await curl('-I', `http://${HOST}/file.bin`)).stdout)![1]!;
    const { stdout } = await curl('-H', `If-None-Match: ${etag}`, '-D', '-', `http://${HOST}/file.bin`);
    expect(stdout).toMatch(/^HTTP\/1\.1 304 /);
  });

  it('uses connections to the origin again', async () => {
    const urls = Array.from({ length: 5 }, (_, i) => `http://${HOST}/file.bin?${i}`);
    const { stdout } = await curl(
      '-o',
      '/dev/null',
      '-w',
      '%{http_code} ',
      ...urls.flatMap((url) => [url, '-o', '/dev/null']),
    );
    expect(stdout.trim()).toBe('200 200 200 200 200');
  });

  it('takes an upload by length and in chunks', async () => {
    const from = join(folder, 'file.bin');
    await curl('-T', from, `http://${HOST}/put/a`);
    await curl('-T', from, '-H', 'Transfer-Encoding: chunked', `http://${HOST}/put/b`);
    expect(sha(readFileSync(join(folder, 'put/a')))).toBe(sha(file));
    expect(sha(readFileSync(join(folder, 'put/b')))).toBe(sha(file));
  });

  it('asks for the body of Expect: 100-continue only when it goes somewhere', async () => {
    const put = (target: string) =>
      `PUT ${target} HTTP/1.1\r\nHost: ${HOST}\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n`;
    const client = new RawClient(port).send(put('/put/c'));
    await client.waitFor(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    expect(await client.send('ok').waitForEnd()).toMatch(/\r\n\r\nHTTP\/1\.1 201 /);
    expect(await exchange(port, put('/listed'))).toMatch(/^HTTP\/1\.1 451 /);
  });

  it('streams an upload of 256 MB in constant memory', async () => {
    const bytes = 256 * 2 ** 20;
    const before = process.memoryUsage().rss;
    let peak = before;
    const timer = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss);
    }, 20);
    const sent = await upload(bytes);
    clearInterval(timer);
    expect(sent).toBe(201);
    expect(readFileSizeBytes(join(folder, 'put/big'))).toBe(bytes);
    // Test and gateway share this process: buffers that were not given back yet count.
    expect(peak - before).toBeLessThan(128 * 2 ** 20);
  });

  function upload(bytes: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const headers = { Host: HOST, 'Content-Length': bytes };
      const options = { port, host: '127.0.0.1', path: '/put/big', method: 'PUT', headers };
      const request = httpRequest(options, (response) => {
        response.resume();
        resolve(response.statusCode!);
      });
      request.on('error', reject);
      createReadStream('/dev/zero', { end: bytes - 1 }).pipe(request);
    });
  }

  it('waits for a client that reads slowly instead of gathering the answer', async () => {
    const client = new RawClient(port);
    writeFileSync(join(folder, 'large.bin'), Buffer.alloc(64 * 2 ** 20, 1));
    const before = process.memoryUsage();
    client.socket.pause();
    client.send(get('/large.bin'));
    await new Promise((resolve) => setTimeout(resolve, 700));
    const after = process.memoryUsage();
    expect(after.arrayBuffers + after.external - before.arrayBuffers - before.external).toBeLessThan(16 * 2 ** 20);
    client.socket.resume();
    await waitUntil('the whole answer', () => client.socket.bytesRead > 64 * 2 ** 20);
    client.socket.destroy();
  });
});

function readFileSizeBytes(path: string): number {
  return readFileSync(path).length;
}
