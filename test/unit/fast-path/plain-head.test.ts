import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readHead } from '../../../src/fast-path/plain-head.ts'

const MAX_BYTES = 16_384
const read = (text: string) => readHead(Buffer.from(text, 'latin1'), MAX_BYTES)

describe('a plain head is parsed', () => {
  it('with the fields that the mirror reads, and its own length', () => {
    const text =
      'GET /acme/open/resolve/main/config.json?download=true HTTP/1.1\r\nHost: mirror.example:8080\r\n' +
      'User-Agent: unknown/None; hf_hub/1.3.2; python/3.11.2\r\nAccept: */*\r\naccept-encoding: identity\r\n' +
      'Connection: Keep-Alive\r\nX-Amzn-Trace-Id: 8f14e45f-ceea\r\nauthorization:Bearer hf_abc\r\n' +
      'RANGE:\tbytes=0-1 \r\nIf-Range: "x"\r\nIf-None-Match: "y"\r\nVia: 1.1 proxy\r\nX-Request-Id: a\r\n' +
      'X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n\r\n'
    const head = read(`${text}GET /next`)
    expect(head).toEqual({
      method: 'GET',
      url: '/acme/open/resolve/main/config.json?download=true',
      text,
      headers: {
        authorization: 'Bearer hf_abc',
        connection: 'Keep-Alive',
        host: 'mirror.example:8080',
        'if-none-match': '"y"',
        'if-range': '"x"',
        range: 'bytes=0-1',
        via: '1.1 proxy',
        'x-amzn-trace-id': '8f14e45f-ceea',
        'x-forwarded-for': '10.0.0.1, 10.0.0.2',
        'x-request-id': 'a',
      },
    })
  })

  it('with no field but Host', () => {
    expect(read('HEAD / HTTP/1.1\r\nHost:\r\n\r\n')).toMatchObject({ method: 'HEAD', headers: { host: '' } })
  })

  it('up to the given length', () => {
    const text = `GET / HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(100)}\r\n\r\n`
    expect(readHead(Buffer.from(text), text.length)).toBeDefined()
    expect(readHead(Buffer.from(text), text.length - 1)).toBeUndefined()
  })
})

describe('a head is left to Node', () => {
  it.each([
    ['that has not come whole', 'GET / HTTP/1.1\r\nHost: x\r\n'],
    ['of nothing', ''],
    ['without a Host', 'GET / HTTP/1.1\r\nAccept: */*\r\n\r\n'],
    ['of another method', 'POST / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['of a method in small letters', 'get / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['of an older version', 'GET / HTTP/1.0\r\nHost: x\r\n\r\n'],
    ['with a URL for a target', 'GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['with a space in its target', 'GET /a b HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['with an octet above ASCII in its target', 'GET /\xe4 HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['after an empty line', '\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['with bare line feeds', 'GET / HTTP/1.1\nHost: x\r\n\r\n'],
    ['with a bare line feed in a field', 'GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n'],
    ['with a bare carriage return', 'GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n'],
    ['with a NUL', 'GET / HTTP/1.1\r\nHost: x\0\r\n\r\n'],
    ['with an octet above ASCII in a value', 'GET / HTTP/1.1\r\nHost: x\r\nA: \xe4\r\n\r\n'],
    ['with a folded field', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n'],
    ['with a space before a colon', 'GET / HTTP/1.1\r\nHost : x\r\n\r\n'],
    ['with a line that is no field', 'GET / HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n'],
    ['with two Hosts', 'GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n'],
    [
      'with an empty credential beside another',
      'GET / HTTP/1.1\r\nHost: x\r\nAuthorization:\r\nAuthorization: a\r\n\r\n',
    ],
    ['with a body', 'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na'],
    ['with an empty body', 'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'],
    ['with a body in chunks', 'GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['that is to be told to go on', 'GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n'],
    ['that wants another protocol', 'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n'],
    ['that offers another protocol', 'GET / HTTP/1.1\r\nHost: x\r\nHTTP2-Settings: a\r\n\r\n'],
    ['that has a word on trailers', 'GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n'],
    ['that announces trailers', 'GET / HTTP/1.1\r\nHost: x\r\nTrailer: a\r\n\r\n'],
    ['with a time for its connection', 'GET / HTTP/1.1\r\nHost: x\r\nKeep-Alive: timeout=1\r\n\r\n'],
    ['with a word for a proxy', 'GET / HTTP/1.1\r\nHost: x\r\nProxy-Connection: keep-alive\r\n\r\n'],
    ['of the last request', 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'],
    ['with more to say of its connection', 'GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, x\r\n\r\n'],
  ])('%s', (_what, text) => {
    expect(read(text)).toBeUndefined()
  })
})

/** What Node makes of bytes on a connection: the requests, and whether it kept the connection. */
class Other {
  readonly #server = createServer({ requireHostHeader: false }, (request, response) => {
    request.resume()
    this.#seen.push({ request, keeps: response.shouldKeepAlive })
    response.end()
  })
  #seen: { readonly request: IncomingMessage; readonly keeps: boolean }[] = []
  #socket: Socket | undefined

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  async reads(text: string) {
    this.#seen = []
    if (this.#socket === undefined || this.#socket.destroyed) {
      this.#socket = connect((this.#server.address() as AddressInfo).port, '127.0.0.1')
      this.#socket.on('error', () => undefined)
    }
    const socket = this.#socket
    socket.write(text, 'latin1')
    await Promise.race([once(socket, 'data'), once(socket, 'close')])
    return this.#seen
  }

  stop(): void {
    this.#socket?.destroy()
    this.#server.close()
  }
}

describe('a parsed head', () => {
  const other = new Other()
  beforeAll(() => other.start())
  afterAll(() => other.stop())

  const GOOD = [
    'hOST:\t z ',
    'Authorization: Bearer a',
    'Accept: */*',
    'Range: bytes=0-',
    'If-Range: "a"',
    'Via: 1.1 a, 1.0 b',
    'X-Request-Id: 7',
    'X-Forwarded-For: ::1',
    'Connection: keep-alive',
    '__proto__: a',
    'constructor: b',
    'Cookie: a=b',
  ]
  const ODD = [
    'Host: x',
    'Accept: */*',
    'Content-Length: 0',
    'Content-Length: 4',
    'Transfer-Encoding: chunked',
    'Connection: close',
    'Connection: upgrade',
    'Upgrade: x',
    'Expect: 100-continue',
    'Keep-Alive: timeout=1',
    'TE: trailers',
    ' folded',
    'Host : x',
    'a',
    ':',
    ': a',
    'X: \x7f',
    'X: \xff',
    'X: a\tb',
  ]
  const text = fc.string({ unit: 'binary-ascii', maxLength: 6 })
  const odd = fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    fc.constantFrom(...ODD).map((each) => [each]),
    fc.tuple(text, text).map(([name, value]) => [`${name}:${value}`]),
  )
  const lines = fc.tuple(odd, fc.shuffledSubarray(GOOD, { minLength: 6 })).map((parts) => parts.flat())
  const end = fc.oneof(
    { weight: 200, arbitrary: fc.constant('\r\n') },
    fc.constantFrom('\n', '\r', '\r\r\n', '\n\r', '\0\r\n'),
  )
  const often = (usual: fc.Arbitrary<string>, ...others: string[]) =>
    fc.oneof({ weight: 9, arbitrary: usual }, fc.constantFrom(...others))
  const first = fc
    .tuple(
      often(fc.constantFrom('GET ', 'HEAD '), 'GET', 'GET  ', 'get ', 'POST ', '\r\nGET ', 'HEAD\t'),
      often(
        fc.webPath().map((path) => path || '/'),
        '*',
        'x',
        '//',
        '/ ',
        '/#',
        '/\x7f',
        '/"<>',
        'http://x/',
      ),
      often(fc.constant(' HTTP/1.1'), ' HTTP/1.0', ' HTTP/1.1 ', ' HTTP/2.0', ' http/1.1', ''),
    )
    .map((parts) => parts.join(''))
  const head = fc
    .tuple(first, lines, fc.array(end, { minLength: 15, maxLength: 15 }))
    .map(([start, fields, ends]) =>
      [start, ...fields, ''].map((each, index) => each + (ends[index] ?? '')).join(''),
    )

  it('is parsed by Node in the same way, and no body follows it', async () => {
    let readHere = 0
    await fc.assert(
      fc.asyncProperty(head, async (text) => {
        const mine = read(text)
        if (mine === undefined) return
        readHere += 1
        const seen = await other.reads(mine.text)
        expect(seen).toHaveLength(1)
        for (const { request, keeps } of seen) {
          const { method, url, complete } = request
          expect({ method, url, complete, keeps }).toEqual({
            method: mine.method,
            url: mine.url,
            complete: true,
            keeps: true,
          })
          for (const [name, value] of Object.entries(mine.headers)) {
            expect(request.headers[name]).toBe(value)
            expect(request.headersDistinct[name]?.length ?? 0).toBe(value === undefined ? 0 : 1)
          }
        }
      }),
      { numRuns: 2000 },
    )
    // Else the generator says nothing.
    expect(readHere).toBeGreaterThan(200)
  })
})
