// Connections of which Node gets one plain request, and which are read early again after its answer.

import { EventEmitter, once } from 'node:events'
import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { eventually } from '../../support/eventually.ts'
import { rawHttp } from '../../support/raw-http.ts'
import { chance } from '../../support/seeded.ts'
import { CACHED, connected, connections, earlyServer, LAST, OTHER, READ, said } from './early-server.ts'

describe('a connection on which Node has answered a plain request', () => {
  /** A connection after such a request. */
  async function returned(options: Parameters<typeof earlyServer>[0] = {}) {
    const early = await earlyServer(options)
    const { socket, until, text } = connected(early.port)
    const accepted = once(early.server, 'connection') as Promise<[Socket]>
    socket.write(OTHER)
    await until('/other')
    const [connection] = await accepted
    /** Sends a request, and waits for its answer. */
    const ask = async (question: string): Promise<string | undefined> => {
      const before = said(text()).length
      socket.write(question)
      while (said(text()).length === before) await once(socket, 'data')
      return said(text())[before]
    }
    return { ...early, socket, text, connection, ask }
  }

  it.each([
    ['with a body', 'PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /', '<node PUT /x GET />'],
    [
      'with a chunked body',
      'POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n',
      '<node POST /x GET />',
    ],
    ['with an empty body', 'GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n', '<node GET /x >'],
    [
      'that expects 100 (Continue)',
      'PUT /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab',
      '<node PUT /x ab>',
    ],
    [
      'for an upgrade that is not made',
      'GET /x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n',
      '<node GET /x >',
    ],
  ])('belongs to Node from a request %s', async (_what, question, answer) => {
    const { ask, byNode } = await returned()
    expect(await ask(CACHED)).toBe('<early>')
    expect(await ask(question)).toBe(answer)
    expect([await ask(CACHED), await ask(OTHER)]).toEqual(['<node GET /cached >', '<node GET /other >'])
    expect(byNode).toEqual(['/other', '/x', '/cached', '/other'])
  })

  it('ends with the answer to a request of HTTP/1.0', async () => {
    const { socket, ask } = await returned()
    const ended = once(socket, 'end')
    expect(await ask('GET /x HTTP/1.0\r\nHost: x\r\n\r\n')).toBe('<node GET /x >')
    await ended
  })

  it('belongs to Node from a request that arrives before the one before it is answered', async () => {
    let release = (): void => undefined
    const held = new Promise<void>((resolve) => (release = resolve))
    const { port, server } = await earlyServer({ held })
    const { socket, until, text } = connected(port)
    const [connection] = (await once(server, 'connection')) as [Socket]
    socket.write(OTHER)
    await once(server, 'request')
    const more = CACHED + OTHER + LAST
    socket.write(more.slice(0, 9))
    socket.write(more.slice(9))
    await eventually(
      () => connection.bytesRead,
      (bytes) => bytes === OTHER.length + more.length,
    )
    release()
    await until('/last')
    expect(said(text())).toEqual([
      '<node GET /other >',
      '<node GET /cached >',
      '<node GET /other >',
      '<node GET /last >',
    ])
  })

  it('gives Node all of a request that arrives in two pieces', async () => {
    for (let cut = 1; cut < CACHED.length; cut += 1) {
      const { socket, ask, byNode } = await returned()
      socket.setNoDelay(true)
      socket.write(CACHED.slice(0, cut))
      await new Promise((resolve) => setTimeout(resolve, 2))
      expect(await ask(CACHED.slice(cut)), `cut at ${cut}`).toMatch(/early|cached/)
      expect(await ask(LAST)).toBe('<node GET /last >')
      expect(byNode.at(-1)).toBe('/last')
    }
  })

  it('may send any requests, in any pieces', async () => {
    const { port } = await earlyServer()
    const kinds: readonly (readonly [string, string])[] = [
      [CACHED, 'cached'],
      [CACHED, 'cached'],
      [OTHER, 'GET /other '],
      [OTHER, 'GET /other '],
      [OTHER.replace('GET', 'HEAD'), ''],
      ['PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /', 'PUT /x GET /'],
    ]
    const random = chance('requests on one connection')
    for (let times = 0; times < 60; times += 1) {
      const { socket, until, text } = connected(port)
      socket.setNoDelay(true)
      const expected: string[] = []
      for (let count = 0; count < 12; count += 1) {
        // One in twelve has a body, and ends the early reading.
        const [question, answer] = random.oneOf(random.next() < 0.5 ? kinds : kinds.slice(0, 5))
        const cut = random.next() < 0.3 ? random.below(question.length) : 0
        socket.write(question.slice(0, cut))
        if (cut > 0) await new Promise((resolve) => setImmediate(resolve))
        socket.write(question.slice(cut))
        if (answer !== '') expected.push(answer)
        while (random.next() < 0.7 && said(text()).length < expected.length) await once(socket, 'data')
      }
      socket.write(LAST)
      await until('/last')
      const answers = said(text()).map((each) =>
        each.replace(/<early>|<node GET \/cached >/, '<node cached>'),
      )
      expect(answers).toEqual([...expected.map((each) => `<node ${each}>`), '<node GET /last >'])
    }
  })

  it('ends with an answer that ends it', async () => {
    const { server, socket, text, ask } = await returned()
    server.prependListener('request', (_request, response) => response.setHeader('connection', 'close'))
    const ended = once(socket, 'end')
    expect(await ask(OTHER)).toBe('<node GET /other >')
    socket.write(CACHED)
    await ended
    expect(said(text())).toHaveLength(2)
  })

  it('is ended after the idle timeout, and not while Node answers', async () => {
    let release = (): void => undefined
    const { socket, connection, ask, server } = await returned({ keepAliveTimeout: 60 })
    server.removeAllListeners('request')
    server.on('request', (_request, response) => (release = () => void response.end('<late>')))
    expect(await ask(CACHED)).toBe('<early>')
    const late = ask(OTHER)
    await once(server, 'request')
    expect(connection.timeout).toBe(0)
    release()
    const ended = once(socket, 'end')
    await late
    await ended
  })

  it('is ended when the server closes', async () => {
    const { server, socket, ask } = await returned()
    await ask(CACHED)
    const closed = once(server, 'close')
    server.close()
    await Promise.all([closed, once(socket, 'end')])
  })

  it('is not ended while its answer is being read and the server closes', async () => {
    const reading = new EventEmitter()
    const reads = async (): Promise<boolean> => {
      const released = once(reading, 'release')
      reading.emit('begin')
      await released
      return true
    }
    const { server, ask } = await returned({ reads })
    const begun = once(reading, 'begin')
    const read = ask(READ)
    await begun
    server.close()
    reading.emit('release')
    expect(await read).toBe('<read>')
    server.closeIdleConnections()
  })

  it('that the client resets while Node answers does no harm', async () => {
    const { port, server, url } = await earlyServer({ held: new Promise(() => undefined) })
    const { socket } = connected(port)
    socket.write(OTHER)
    await once(server, 'request')
    socket.resetAndDestroy()
    while ((await connections(server)) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    const { text } = await rawHttp(url, `${CACHED}no request\r\n\r\n`)
    expect(said(text)).toEqual(['<early>'])
  })

  it('with a head that Node refuses gets the error of Node', async () => {
    const { socket, text } = await returned()
    socket.write('\x16\x03\x01\r\n\r\n')
    await once(socket, 'end')
    expect(text()).toContain('HTTP/1.1 400')
  })
})
