import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, connect, createServer as createConnectionServer, type Socket } from 'node:net'
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls'
import Fastify from 'fastify'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  aroundClosingAll,
  aroundClosingIdle,
  closeTogether,
  endConnectionWith,
  gateWrites,
  interceptConnections,
  markEncrypted,
  reportTimeout,
  resetConnection,
  type SharedConnection,
  setRemoteAddress,
  shareWithNode,
  sparing,
  startTimeouts,
  underlyingSocket,
  unread,
} from '../../../src/server/node-http.ts'
import { GOOD_CERTIFICATE, SERVER_KEY } from '../../support/certificates.ts'
import { eventually } from '../../support/eventually.ts'

const REQUEST = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

async function listen(listener?: RequestListener, prepare: (server: Server) => void = () => undefined) {
  const server = createServer(listener)
  prepare(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return server
}

/** A client that has sent `text`. */
function client(server: { address(): unknown }, text = ''): Socket {
  const { port } = server.address() as AddressInfo
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => undefined)
  onTestFinished(() => void socket.destroy())
  if (text !== '') socket.write(text)
  return socket
}

/** What comes until `part` has come, or the connection ends. */
async function received(socket: Socket, part = '\0'): Promise<string> {
  let text = ''
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += (chunk as Buffer).toString('latin1')
    if (text.includes(part)) break
  }
  return text
}

describe(`node:http of ${process.version}`, () => {
  it('parses a connection that is handed over after its first bytes were read', async () => {
    const server = await listen(
      (_request, response) => response.end('<by Node>'),
      (own) => {
        const handOn = interceptConnections(own, (socket) => {
          socket.once('data', (bytes: Buffer) => {
            handOn(socket)
            unread(socket, bytes)
          })
        })
      },
    )
    const socket = client(server, REQUEST)
    expect(await received(socket, '<by Node>')).toContain('<by Node>')
    // It is Node's for good.
    socket.write(REQUEST)
    expect(await received(socket, '<by Node>')).toContain('<by Node>')
  })

  it('parses all bytes that were put back, even after it has paused the connection', async () => {
    const urls: (string | undefined)[] = []
    const server = await listen(
      (request, response) => {
        urls.push(request.url)
        // Many responses under way: Node stops reading the connection until they have left.
        response.end(Buffer.alloc(200_000))
      },
      (own) => {
        const handOn = interceptConnections(own, (socket) => {
          socket.once('data', (bytes: Buffer) => {
            handOn(socket)
            unread(socket, bytes)
          })
        })
      },
    )
    const socket = client(
      server,
      Array.from({ length: 12 }, (_, at) => REQUEST.replace('/', `/${at}`)).join(''),
    )
    let bytes = 0
    for await (const chunk of socket) {
      bytes += (chunk as Buffer).length
      if (bytes > 12 * 200_000) break
    }
    expect(urls).toEqual(Array.from({ length: 12 }, (_, at) => `/${at}`))
  })

  it('reads of a shared connection what it is given, until it gets the connection', async () => {
    const urls: (string | undefined)[] = []
    const kept: string[] = []
    const handed: SharedConnection[] = []
    const server = await listen(
      (request, response) => {
        urls.push(request.url)
        response.end('<by Node>')
      },
      (own) => {
        const handOn = interceptConnections(own, (socket) => {
          const data = (bytes: Buffer) => void kept.push(bytes.toString())
          handed.push(shareWithNode(socket, handOn, { data, timeout: () => undefined }))
        })
      },
    )
    const socket = client(server, 'not HTTP')
    await once(server, 'connection')
    const [shared] = handed
    if (shared === undefined) throw new Error('no connection')
    for (const url of ['/1', '/2']) {
      shared.read(Buffer.from(REQUEST.replace('/', url)))
      expect(await received(socket, '<by Node>')).toContain('<by Node>')
    }
    expect(urls).toEqual(['/1', '/2'])
    await eventually(
      () => kept,
      (bytes) => bytes.length > 0,
    )
    shared.give(Buffer.from(REQUEST.slice(0, 9)))
    socket.write(REQUEST.slice(9))
    expect(await received(socket, '<by Node>')).toContain('<by Node>')
    expect([urls, kept]).toEqual([['/1', '/2', '/'], ['not HTTP']])
  })

  it('closes idle and all connections through the methods of the instance', async () => {
    const calls: string[] = []
    const server = await listen((_request, response) => response.end('x'))
    aroundClosingIdle(server, (closeIdle) => {
      calls.push('idle')
      closeIdle()
    })
    aroundClosingAll(server, (closeAll) => {
      calls.push('all')
      closeAll()
    })
    const idle = client(server, REQUEST)
    await once(idle, 'data')
    const ended = once(idle, 'end')
    // Node calls its own method when a server closes.
    server.close()
    await ended
    server.closeAllConnections()
    expect(calls).toEqual(['idle', 'all'])
  })

  it('ends idle connections by destroying their sockets, so that some can be spared', async () => {
    const sockets: Socket[] = []
    const server = await listen((request, response) => {
      sockets.push(request.socket)
      response.end('x')
    })
    const spared = client(server, REQUEST)
    await once(spared, 'data')
    const ended = client(server, REQUEST)
    await once(ended, 'data')
    const end = once(ended, 'end')
    sparing(sockets.slice(0, 1), () => server.closeIdleConnections())
    await end
    spared.write(REQUEST)
    expect(await received(spared, '\r\n\r\nx')).toContain('200 OK')
    expect(sockets[0]?.destroyed).toBe(false)
    sockets[0]?.destroy()
    expect(sockets[0]?.destroyed).toBe(true)
  })

  it('writes to a socket one call at a time, so that a gate keeps the order', async () => {
    let open = (): void => undefined
    const waiting: (() => void)[] = []
    let isOpen = false
    const gate = (write: () => void): void => {
      if (isOpen) write()
      else waiting.push(write)
    }
    const server = await listen(
      (_request, response) => {
        for (const part of ['one,', 'two,', 'three.']) response.write(part)
        response.end()
        open = () => {
          isOpen = true
          for (const write of waiting) write()
        }
      },
      (own) => own.on('connection', (socket: Socket) => gateWrites(socket, gate)),
    )
    const asked = once(server, 'request')
    const socket = client(server, REQUEST)
    let got = 0
    socket.on('data', (bytes: Buffer) => (got += bytes.length))
    await asked
    await new Promise((resolve) => setTimeout(resolve, 20))
    // The first call waits, and the others wait for it.
    expect([got, waiting.length]).toEqual([0, 1])
    socket.removeAllListeners('data')
    const text = received(socket, '\r\n0\r\n')
    open()
    expect(await text).toMatch(/one,[^]*two,[^]*three\./)
  })

  it('lets a property of the socket hide its address', async () => {
    const seen: unknown[] = []
    const server = await listen((request, response) => {
      for (const address of ['192.0.2.1', '192.0.2.2']) {
        setRemoteAddress(request.socket, address)
        seen.push(request.socket.remoteAddress)
      }
      response.end()
    })
    await once(client(server, REQUEST), 'data')
    expect(seen).toEqual(['192.0.2.1', '192.0.2.2'])
  })

  it('reports a server as closed once the servers that close with it are closed', async () => {
    const server = await listen((_request, response) => response.end())
    const other = createConnectionServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const held = client(other)
    const [taken] = (await once(other, 'connection')) as [Socket]
    taken.resume()
    closeTogether(server, [other])
    let isClosed = false
    const closed = new Promise<void>((resolve) => server.close(() => resolve())).then(() => (isClosed = true))
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect([isClosed, other.listening]).toEqual([false, false])
    taken.destroy()
    held.destroy()
    await closed
  })

  it('checks timeouts from the event `listening` on, even if the server does not listen', async () => {
    const server = createServer({ headersTimeout: 50, requestTimeout: 0, connectionsCheckingInterval: 20 })
    const door = createConnectionServer((socket) => server.emit('connection', socket))
    await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      server.close()
      door.close()
    })
    startTimeouts(server)
    const late = once(server, 'clientError') as Promise<[NodeJS.ErrnoException, Socket]>
    client(door, 'GET / HTTP/1.1\r\n')
    const [error, socket] = await late
    socket.destroy()
    expect(error.code).toBe('ERR_HTTP_REQUEST_TIMEOUT')
  })

  it('emits a timeout that is reported from outside, and says whether anything listens', async () => {
    const server = await listen()
    const socket = client(server)
    expect(reportTimeout(server, socket)).toBe(false)
    const codes: unknown[] = []
    server.on('clientError', (error: NodeJS.ErrnoException) => codes.push(error.code))
    expect(reportTimeout(server, socket)).toBe(true)
    expect(codes).toEqual(['ERR_HTTP_REQUEST_TIMEOUT'])
  })

  it('names the connection below one of TLS, and resets both', async () => {
    const below: (Socket | undefined)[] = []
    const given: Socket[] = []
    const tls = createTlsServer({ cert: GOOD_CERTIFICATE, key: SERVER_KEY })
    tls.on('secureConnection', (secure: TLSSocket) => {
      below.push(underlyingSocket(secure))
      resetConnection(secure.on('error', () => undefined))
    })
    const door = createConnectionServer((socket) => {
      given.push(socket)
      tls.emit('connection', socket)
    })
    await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void door.close())
    const { port } = door.address() as AddressInfo
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }).resume()
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException]
    expect([error.code, below]).toEqual(['ECONNRESET', given])
  })

  it('is taken by Fastify for encrypted if it is marked so', async () => {
    const fastify = Fastify()
    fastify.get('/', async ({ protocol }) => protocol)
    onTestFinished(() => fastify.close())
    await fastify.listen({ host: '127.0.0.1', port: 0 })
    fastify.server.once('connection', markEncrypted)
    expect(await received(client(fastify.server, REQUEST), 'https')).toMatch(/\r\n\r\nhttps$/)
  })

  it('ends a connection with a response that is marked as the last', async () => {
    const server = await listen((_request, response) => {
      endConnectionWith(response)
      response.writeHead(200, { 'content-length': '1' })
      response.end('x')
    })
    expect(await received(client(server, REQUEST))).toMatch(/\r\nconnection: close\r\n.*x$/is)
  })
})
