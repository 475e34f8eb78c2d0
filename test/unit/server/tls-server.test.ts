import { once } from 'node:events'
import { type AddressInfo, connect as connectPlain } from 'node:net'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readEarly } from '../../../src/fast-path/early-read.ts'
import { openServer } from '../../../src/server/limits.ts'
import { resetConnection } from '../../../src/server/node-http.ts'
import { speakTls, type TlsKeys } from '../../../src/server/tls-server.ts'
import { createLogger } from '../../../src/telemetry/log.ts'
import { GOOD_CERTIFICATE, SERVER_KEY, TEST_CA } from '../../support/certificates.ts'
import { eventually } from '../../support/eventually.ts'
import { rawHttp, whenClosed } from '../../support/raw-http.ts'
import {
  CLIENT_CERTIFICATE,
  CLIENT_KEY,
  SECOND_CA,
  SECOND_CERTIFICATE,
  SECOND_KEY,
  STRANGER_CERTIFICATE,
  STRANGER_KEY,
} from '../../support/tls-certificates.ts'

const FIRST: TlsKeys = {
  cert: GOOD_CERTIFICATE,
  key: SERVER_KEY,
  clientCa: undefined,
  ticketKeys: Buffer.alloc(48, 1),
}
const SECOND: TlsKeys = {
  ...FIRST,
  cert: SECOND_CERTIFICATE,
  key: SECOND_KEY,
  ticketKeys: Buffer.alloc(48, 2),
}
const CACHED = 'GET /cached HTTP/1.1\r\nHost: x\r\n\r\n'
const OTHER = 'GET /other HTTP/1.1\r\nHost: x\r\n\r\n'

/** A server like that of the mirror, with an early read, that speaks TLS. */
async function secureServer(
  options: { readonly keys?: TlsKeys; readonly handshakeMs?: number; readonly read?: Promise<void> } = {},
) {
  const { read = Promise.resolve() } = options
  let keys = options.keys ?? FIRST
  const failures: string[] = []
  const lines: string[] = []
  const server = openServer((request, response) => {
    const { socket } = request
    if (request.url === '/broken') {
      response.write('half of it')
      void read.then(() => resetConnection(socket))
    } else response.end(`<node ${request.url} ${'encrypted' in socket}>`)
  })
  readEarly(server, ({ url }, socket) => url === '/cached' && socket.write(ANSWER))
  const logger = createLogger({ level: 'debug', destination: { write: (line) => void lines.push(line) } })
  const observer = { tlsFailed: (reason: string) => void failures.push(reason) }
  speakTls(server, () => keys, { observer, logger }, options.handshakeMs)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  return { server, port, failures, lines, change: (next: TlsKeys) => (keys = next) }
}

const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<early>'

/** A client that trusts both authorities. */
function client(port: number, options: ConnectionOptions = {}): TLSSocket {
  const socket = connect({ port, host: '127.0.0.1', ca: [TEST_CA, SECOND_CA], ...options })
  onTestFinished(() => void socket.destroy())
  return socket
}

/** Sends `text`, and resolves with what comes until `part` has come; rejects if the connection fails before. */
function answer(socket: TLSSocket, text: string, part: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let got = ''
    const read = (bytes: Buffer): void => {
      got += bytes.toString()
      if (!got.includes(part)) return
      socket.off('data', read)
      resolve(got)
    }
    socket.on('data', read)
    socket.once('error', reject)
    socket.once('close', () => reject(new Error(`closed after ${JSON.stringify(got)}`)))
    socket.write(text)
  })
}

/** The code with which a client fails. */
async function failureOf(port: number, options: ConnectionOptions = {}): Promise<string> {
  return answer(client(port, options), OTHER, '>').then(
    (text) => `answered ${text}`,
    (error: NodeJS.ErrnoException) => `${error.code} ${error.message}`,
  )
}

const nameOf = (socket: TLSSocket) => socket.getPeerCertificate().subject.CN

describe('a server that speaks TLS', () => {
  it.each([['TLSv1.2'], ['TLSv1.3']] as const)(
    'answers by %s, from the early read and from Node',
    async (version) => {
      const { port, failures } = await secureServer()
      const socket = client(port, {
        minVersion: version,
        maxVersion: version,
        ALPNProtocols: ['h2', 'http/1.1'],
      })
      expect(await answer(socket, CACHED, '<early>')).toContain('<early>')
      expect(await answer(socket, OTHER, '<node')).toContain('<node /other true>')
      expect(await answer(socket, CACHED + OTHER + CACHED, '/cached')).toContain('<node /cached true>')
      expect([socket.getProtocol(), socket.alpnProtocol, failures]).toEqual([version, 'http/1.1', []])
    },
  )

  it('reads a request that arrives in pieces', async () => {
    const { port } = await secureServer()
    const socket = client(port)
    await once(socket, 'secureConnect')
    for (const piece of [CACHED.slice(0, 9), CACHED.slice(9) + OTHER.slice(0, 3)]) {
      socket.write(piece)
      // A record of its own.
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    expect(await answer(socket, OTHER.slice(3), '/other')).toContain('<node /other true>')
  })

  it('refuses TLS before 1.2, and clients of HTTP/2 only, and answers others', async () => {
    const { port, failures, lines } = await secureServer()
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
    expect(await failureOf(port, old)).toMatch(/alert protocol version/)
    expect(await failureOf(port, { ALPNProtocols: ['h2'] })).toMatch(/alert no application protocol/)
    expect(await failureOf(port)).toContain('answered')
    await eventually(
      () => failures,
      ({ length }) => length === 2,
    )
    expect(failures).toEqual(['old-version', 'other'])
    expect(lines.join('')).toContain('"reason":"old-version"')
  })

  it('does not begin the handshake again for a client of TLS 1.2', async () => {
    const { port } = await secureServer()
    const socket = client(port, { maxVersion: 'TLSv1.2' })
    await once(socket, 'secureConnect')
    const refused = once(socket, 'error')
    socket.renegotiate({}, () => undefined)
    expect(String(await refused)).toMatch(/no renegotiation/i)
    expect(await failureOf(port)).toContain('answered')
  })

  it('tells a client of plain HTTP what it speaks, and goes on', async () => {
    const { port, failures, lines } = await secureServer()
    for (const text of [OTHER, 'CONNECT huggingface.co:443 HTTP/1.1\r\nHost: x\r\n\r\n']) {
      const { status, text: said, body } = await rawHttp(`http://127.0.0.1:${port}`, text)
      expect(status).toBe(400)
      expect(said).toContain('This port speaks HTTPS.')
      expect(JSON.parse(body.toString())).toEqual({ error: expect.stringContaining('https://') as unknown })
    }
    expect(failures).toEqual(['plain-http', 'plain-http'])
    // Once in a while, and without anything that the client has sent.
    expect(lines.length).toBe(1)
    expect(lines[0]).toMatch(/"reason":"plain-http".*"address":"127\.0\.0\.1"/)
    expect(lines[0]).not.toContain('/other')
    expect(await failureOf(port)).toContain('answered')
  })

  it.each([
    ['noise', Buffer.alloc(500, 0x47)],
    ['the head of a record that is too long', Buffer.from([0x16, 3, 1, 0xff, 0xff, 1, 2, 3])],
    ['an SSH client', Buffer.from('SSH-2.0-client\r\n')],
  ])('ends a connection that sends %s, and goes on', async (_, bytes) => {
    const { port, failures } = await secureServer({ handshakeMs: 200 })
    await rawHttp(`http://127.0.0.1:${port}`, bytes)
    await eventually(
      () => failures,
      ({ length }) => length === 1,
    )
    expect(await failureOf(port)).toContain('answered')
  })

  it('counts clients that leave, and logs nothing of them', async () => {
    const { port, failures, lines } = await secureServer()
    const left = connectPlain(port, '127.0.0.1')
    await once(left, 'connect')
    left.destroy()
    await eventually(
      () => failures,
      ({ length }) => length === 1,
    )
    expect([failures, lines]).toEqual([['left'], []])
  })

  it('ends handshakes that take too long, also if bytes keep coming', async () => {
    const { port, failures, server } = await secureServer({ handshakeMs: 300 })
    const silent = connectPlain(port, '127.0.0.1')
    const dripping = connectPlain(port, '127.0.0.1')
    const sockets = [silent, dripping].map((socket) => socket.resume())
    // The head of a handshake record, and then its content byte by byte.
    dripping.write(Buffer.from([0x16, 3, 1, 2, 0]))
    const drip = setInterval(() => dripping.write(Buffer.from([1])), 20)
    onTestFinished(() => clearInterval(drip))
    await Promise.all(sockets.map(whenClosed))
    expect(failures).toEqual(['timeout', 'timeout'])
    await eventually(
      () => countOf(server),
      (count) => count === 0,
    )
  })

  it('closes connections in their handshake with all others', async () => {
    const { port, server } = await secureServer()
    const half = connectPlain(port, '127.0.0.1').on('error', () => undefined)
    await eventually(
      () => countOf(server),
      (count) => count === 1,
    )
    server.closeAllConnections()
    await whenClosed(half.resume())
  })

  it('ends a response that breaks off by a reset', async () => {
    let hasRead = (): void => undefined
    const read = new Promise<void>((resolve) => (hasRead = resolve))
    const { port } = await secureServer({ read })
    const socket = client(port)
    const closed = new Promise((resolve) => {
      socket
        .on('error', (error: NodeJS.ErrnoException) => resolve(error.code))
        .on('end', () => resolve('end'))
    })
    expect(await answer(socket, OTHER.replace('/other', '/broken'), 'half')).toContain('half of it')
    hasRead()
    expect(await closed).toBe('ECONNRESET')
  })
})

describe('new keys', () => {
  it('count for connections that follow, and leave others as they are', async () => {
    const { port, change } = await secureServer()
    const before = client(port)
    expect(await answer(before, CACHED, '<early>')).toContain('<early>')
    change(SECOND)
    const after = client(port)
    expect(await answer(after, OTHER, '<node')).toContain('<node')
    expect([nameOf(before), nameOf(after)]).toEqual(['good', 'second'])
    expect(await answer(before, OTHER, '<node')).toContain('<node')
  })

  it.each([['TLSv1.2'], ['TLSv1.3']] as const)(
    'end the sessions of %s, which other processes with the same keys resume',
    async (maxVersion) => {
      const [one, other] = [await secureServer(), await secureServer()]
      const first = client(one.port, { maxVersion })
      const session = once(first, 'session')
      await answer(first, OTHER, '<node')
      const resumed = async (port: number) => {
        const socket = client(port, { maxVersion, session: (await session)[0] as Buffer })
        await answer(socket, OTHER, '<node')
        return socket.isSessionReused()
      }
      expect(await resumed(other.port)).toBe(true)
      other.change(SECOND)
      expect(await resumed(other.port)).toBe(false)
    },
  )
})

describe('certificates of clients', () => {
  const keys: TlsKeys = { ...FIRST, clientCa: SECOND_CA }
  const own = { cert: CLIENT_CERTIFICATE, key: CLIENT_KEY }

  it.each([['TLSv1.2'], ['TLSv1.3']] as const)('are demanded with %s', async (maxVersion) => {
    const { port, failures, lines } = await secureServer({ keys })
    expect(await failureOf(port, { maxVersion, ...own })).toContain('answered')
    expect(failures).toEqual([])
    for (const other of [
      {},
      { cert: STRANGER_CERTIFICATE, key: STRANGER_KEY },
      { cert: GOOD_CERTIFICATE, key: SERVER_KEY },
    ])
      expect(await failureOf(port, { maxVersion, ...other })).not.toContain('answered')
    await eventually(
      () => failures,
      ({ length }) => length === 3,
    )
    expect(new Set(failures)).toEqual(new Set(['client-certificate']))
    expect(lines.length).toBe(1)
  })

  it('are demanded again by a resumed session once their authority has gone', async () => {
    const { port, change } = await secureServer({ keys })
    const first = client(port, { maxVersion: 'TLSv1.2', ...own })
    const session = once(first, 'session')
    await answer(first, OTHER, '<node')
    change({ ...keys, clientCa: TEST_CA, ticketKeys: Buffer.alloc(48, 3) })
    const again = { maxVersion: 'TLSv1.2', session: (await session)[0] as Buffer, ...own } as const
    expect(await failureOf(port, again)).not.toContain('answered')
  })
})

function countOf(server: {
  getConnections(done: (error: Error | null, count: number) => void): void
}): Promise<number> {
  return new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
  )
}
