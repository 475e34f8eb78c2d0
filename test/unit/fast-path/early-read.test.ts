import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openServer } from '../../../src/server/limits.ts'
import { rawHttp, whenClosed } from '../../support/raw-http.ts'
import { CACHED, connected, connections, earlyServer, LAST, OTHER, said } from './early-server.ts'

describe('a connection', () => {
  it('is read early as long as responses are cached, and belongs to Node from the first of several requests at once without one', async () => {
    const { url, byNode } = await earlyServer()
    const { text, end } = await rawHttp(url, CACHED + CACHED + OTHER + CACHED + LAST)
    expect(said(text)).toEqual([
      '<early>',
      '<early>',
      '<node GET /other >',
      '<node GET /cached >',
      '<node GET /last >',
    ])
    expect([byNode, end]).toEqual([['/other', '/cached', '/last'], 'closed'])
  })

  it('may send its requests one by one', async () => {
    const { port, byNode } = await earlyServer()
    const { socket, until, text } = connected(port)
    for (const [question, answer] of [
      [CACHED, '<early>'],
      [OTHER, '/other'],
      [CACHED, '<early>'],
      [CACHED, '<early>'],
      [OTHER, '/other'],
      [OTHER, '/other'],
      [CACHED, '<early>'],
      [LAST, '/last'],
    ] as const) {
      const before = text().length
      socket.write(question)
      while (!text().slice(before).includes(answer)) await once(socket, 'data')
    }
    expect([said(text()).length, byNode]).toEqual([8, ['/other', '/other', '/other', '/last']])
    await until('/last')
  })

  it('may send a request in two pieces, wherever it is cut', async () => {
    const { port } = await earlyServer()
    const all = CACHED + OTHER + LAST
    for (let cut = 1; cut < all.length; cut += 1) {
      const { socket, text } = connected(port)
      socket.setNoDelay(true)
      socket.write(all.slice(0, cut))
      // The second piece comes in a packet of its own.
      setTimeout(() => socket.write(all.slice(cut)), 2)
      await once(socket, 'end')
      const answers = said(text()).map((each) => each.replace('<node GET /cached >', '<early>'))
      expect(answers, `cut at ${cut}`).toEqual(['<early>', '<node GET /other >', '<node GET /last >'])
    }
  })

  it('hands a body over unchanged', async () => {
    const { url } = await earlyServer()
    const upload = 'PUT /other HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /'
    const { text } = await rawHttp(url, CACHED + upload + LAST)
    expect(said(text)).toEqual(['<early>', '<node PUT /other GET />', '<node GET /last >'])
  })

  it('with another protocol gets the error of Node', async () => {
    const { url } = await earlyServer()
    expect((await rawHttp(url, `${CACHED}\x16\x03\x01\r\n\r\n`)).text).toContain('HTTP/1.1 400')
  })

  it('with a head that is too long gets the error of Node', async () => {
    const { url } = await earlyServer()
    const long = CACHED.replace('Host', `X: ${'x'.repeat(17_000)}\r\nHost`)
    expect((await rawHttp(url, CACHED + long)).text).toContain('HTTP/1.1 431')
  })

  it('is handed over unchanged, and not touched from then on', async () => {
    let release = (): void => undefined
    const held = new Promise<void>((resolve) => (release = resolve))
    const { port, server } = await earlyServer({ held })
    const { socket, until, text } = connected(port)
    const [connection] = (await once(server, 'connection')) as [Socket]
    const timeouts = [connection.timeout]
    socket.write(CACHED)
    await until('<early>')
    timeouts.push(connection.timeout)
    socket.write(OTHER)
    await once(server, 'request')
    timeouts.push(connection.timeout)
    expect(timeouts).toEqual([server.headersTimeout, server.keepAliveTimeout, 0])
    // The early read ends nothing any more.
    server.close()
    release()
    await until('<node GET /other >')
    expect(said(text())).toHaveLength(2)
  })

  it('has no listeners of the early read once it belongs to Node', async () => {
    // Answers that are under way have listeners of their own, here and there.
    const { server } = await earlyServer({ held: new Promise(() => undefined) })
    const plain = openServer()
    onTestFinished(() => plain.close().closeAllConnections())
    await once(plain.listen(0, '127.0.0.1'), 'listening')
    const listeners = async (at: Server, bytes: string) => {
      const { socket } = connected((at.address() as AddressInfo).port)
      const [connection] = (await once(at, 'connection')) as [Socket]
      socket.write(bytes)
      await once(at, 'request')
      return ['data', 'end', 'timeout', 'error', 'close'].map((event) => connection.listenerCount(event))
    }
    expect(await listeners(server, CACHED + LAST)).toEqual(await listeners(plain, LAST))
  })

  it('with many requests at once reaches the limit on requests in flight', async () => {
    const { url, byNode } = await earlyServer()
    const { text } = await rawHttp(url, CACHED.repeat(20) + LAST)
    expect(said(text)).toHaveLength(21)
    expect(byNode).toHaveLength(5)
  })

  it('whose client does not read gets what the kernel takes, and the rest when the client reads', async () => {
    const { port, byNode } = await earlyServer({ body: `<${'x'.repeat(4_000_000)}>` })
    const { socket, text } = connected(port)
    socket.pause()
    socket.write(CACHED.repeat(3) + LAST)
    while (byNode.length < 1) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(byNode[0]).toBe('/cached')
    socket.resume()
    await once(socket, 'end')
    expect(said(text()).at(-1)).toBe('<node GET /last >')
    expect(said(text())[0]).toHaveLength(4_000_002)
  })

  it('whose client does not read may send more requests, which wait until it reads', async () => {
    const { port, url, byNode } = await earlyServer({ body: `<${'x'.repeat(16_000_000)}>` })
    const { socket, text } = connected(port)
    socket.pause()
    socket.write(CACHED + OTHER)
    while (!byNode.includes('/other')) await new Promise((resolve) => setTimeout(resolve, 5))
    socket.write(LAST)
    // By when this one is answered the other one has arrived.
    expect(said((await rawHttp(url, LAST)).text)).toEqual(['<node GET /last >'])
    socket.resume()
    await once(socket, 'end')
    expect(said(text()).slice(1)).toEqual(['<node GET /other >', '<node GET /last >'])
  })

  it('that the client ends is ended after the response', async () => {
    const { port, server } = await earlyServer()
    const { socket, text } = connected(port, { allowHalfOpen: true })
    socket.end(CACHED)
    await once(socket, 'end')
    expect(said(text())).toEqual(['<early>'])
    while ((await connections(server)) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  })

  it('that the client resets does no harm', async () => {
    const { port, server, url } = await earlyServer()
    const { socket, until } = connected(port)
    socket.write(CACHED)
    await until('<early>')
    socket.resetAndDestroy()
    while ((await connections(server)) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(said((await rawHttp(url, LAST)).text)).toEqual(['<node GET /last >'])
  })
})

describe('an idle connection', () => {
  it('is ended after the idle timeout', async () => {
    const { port, server } = await earlyServer({ keepAliveTimeout: 50 })
    const errors: Error[] = []
    server.on('clientError', (error, client) => {
      errors.push(error)
      client.destroy()
    })
    const { socket, text } = connected(port)
    socket.write(CACHED)
    await once(socket, 'end')
    // It has done nothing wrong.
    expect([said(text()), errors]).toEqual([['<early>'], []])
  })

  it('gets an error if it has sent nothing and a listener writes one', async () => {
    const { port } = await earlyServer({ headersTimeout: 50 })
    const { socket, text } = connected(port)
    await once(socket, 'close')
    expect(text()).toBe('')
    const heard = await earlyServer({ headersTimeout: 50 })
    heard.server.on('clientError', (error: NodeJS.ErrnoException, client) => client.end(`<${error.code}>`))
    const { socket: other, text: told } = connected(heard.port)
    await once(other, 'end')
    expect(told()).toBe('<ERR_HTTP_REQUEST_TIMEOUT>')
  })

  it('is not one whose response waits for its client, however long', async () => {
    const { port, server } = await earlyServer({ keepAliveTimeout: 50, body: `<${'x'.repeat(16_000_000)}>` })
    const warnings: Error[] = []
    const warn = (warning: Error) => void warnings.push(warning)
    process.on('warning', warn)
    onTestFinished(() => void process.off('warning', warn))
    const { socket, text } = connected(port)
    socket.pause()
    socket.write(CACHED)
    const [connection] = (await once(server, 'connection')) as [Socket]
    for (let times = 0; times < 2; times += 1) await once(connection, 'timeout')
    const closed = once(server, 'close')
    server.close()
    for (let times = 0; times < 12; times += 1) server.closeIdleConnections()
    const sweep = setInterval(() => server.closeIdleConnections(), 10)
    socket.resume()
    await Promise.all([closed, once(socket, 'end')])
    clearInterval(sweep)
    expect([said(text())[0]?.length, warnings]).toEqual([16_000_002, []])
  })

  it('is ended when the server closes', async () => {
    const { port, server } = await earlyServer()
    const { socket, until } = connected(port)
    socket.write(CACHED)
    await until('<early>')
    const closed = once(server, 'close')
    server.close()
    await Promise.all([closed, once(socket, 'end')])
  })

  it('that has sent nothing yet is still answered by Node when the server closes', async () => {
    const { port, server, byNode } = await earlyServer()
    const { socket, text } = connected(port)
    await once(socket, 'connect')
    while ((await connections(server)) === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    const closed = once(server, 'close')
    server.close()
    socket.write(CACHED.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))
    await Promise.all([closed, once(socket, 'end')])
    expect([said(text()), byNode]).toEqual([['<node GET /cached >'], ['/cached']])
  })

  it('that has sent nothing yet gets no extra time when the server closes', async () => {
    const { port, server } = await earlyServer({ headersTimeout: 50 })
    const { socket } = connected(port)
    await once(socket, 'connect')
    while ((await connections(server)) === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    const closed = once(server, 'close')
    server.close()
    await Promise.all([closed, once(socket, 'end')])
  })

  it('is cut together with all others', async () => {
    const { port, server } = await earlyServer()
    const { socket, until } = connected(port)
    socket.write(CACHED)
    await until('<early>')
    server.closeAllConnections()
    await whenClosed(socket)
  })
})
