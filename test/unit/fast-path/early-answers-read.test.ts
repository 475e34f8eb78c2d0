import { once } from 'node:events'
import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { rawHttp } from '../../support/raw-http.ts'
import { CACHED, connected, connections, earlyServer, LAST, OTHER, READ, said } from './early-server.ts'

/** Answers that are read, each of which waits for its own `finish`. */
function heldReads() {
  const begun: ((isAnswered: boolean) => void)[] = []
  let wake = (): void => undefined
  return {
    reads: () =>
      new Promise<boolean>((resolve) => {
        begun.push(resolve)
        wake()
      }),
    /** Waits until read number `index` has begun, and ends it. */
    finish: async (index: number, isAnswered = true): Promise<void> => {
      while (begun.length <= index) await new Promise<void>((resolve) => (wake = resolve))
      begun[index]?.(isAnswered)
    },
    count: () => begun.length,
  }
}

describe('an answer that is read', () => {
  it('keeps its place among the requests of its connection, and the connection is still read early', async () => {
    const { reads, finish } = heldReads()
    const { url, byNode } = await earlyServer({ reads })
    const asking = rawHttp(url, CACHED + READ + CACHED + READ + OTHER + LAST)
    await finish(0)
    await finish(1)
    const { text, end } = await asking
    expect(said(text)).toEqual([
      '<early>',
      '<read>',
      '<early>',
      '<read>',
      '<node GET /other >',
      '<node GET /last >',
    ])
    expect([byNode, end]).toEqual([['/other', '/last'], 'closed'])
  })

  it('comes before what arrives meanwhile, wherever that is cut', async () => {
    const more = CACHED + OTHER + LAST
    for (let cut = 1; cut < more.length; cut += 7) {
      const { reads, finish, count } = heldReads()
      const { port } = await earlyServer({ reads })
      const { socket, text } = connected(port)
      socket.setNoDelay(true)
      socket.write(READ)
      while (count() === 0) await new Promise((resolve) => setTimeout(resolve, 1))
      socket.write(more.slice(0, cut))
      setTimeout(() => socket.write(more.slice(cut)), 1)
      setTimeout(() => void finish(0), 2)
      await once(socket, 'end')
      const answers = said(text()).map((each) => each.replace('<node GET /cached >', '<early>'))
      expect(answers).toEqual(['<read>', '<early>', '<node GET /other >', '<node GET /last >'])
    }
  })

  it('is left to Node, with all that came after it, if it cannot be read', async () => {
    const { reads, finish } = heldReads()
    const { url, byNode } = await earlyServer({ reads })
    const asking = rawHttp(url, CACHED + READ + CACHED + LAST)
    await finish(0, false)
    expect(said((await asking).text)).toEqual([
      '<early>',
      '<node GET /read >',
      '<node GET /cached >',
      '<node GET /last >',
    ])
    expect(byNode).toEqual(['/read', '/cached', '/last'])
  })

  it.each([true, false])(
    'ends with its client, which has ended its side (answered: %s)',
    async (isAnswered) => {
      const { reads, finish } = heldReads()
      const { port, server, byNode } = await earlyServer({ reads })
      const { socket, text } = connected(port, { allowHalfOpen: true })
      socket.end(READ)
      const [connection] = (await once(server, 'connection')) as [Socket]
      await Promise.all([once(connection, 'close'), once(socket, 'end')])
      await finish(0, isAnswered)
      expect([text(), byNode, await connections(server)]).toEqual(['', [], 0])
    },
  )

  it('holds back a client that sends on and on, and loses nothing of it', async () => {
    const { reads, finish } = heldReads()
    const { port, server, byNode } = await earlyServer({ reads })
    const { socket } = connected(port)
    const [connection] = (await once(server, 'connection')) as [Socket]
    const body = 'x'.repeat(20_000_000)
    socket.write(
      `${READ}PUT /put HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}${LAST}`,
    )
    while (!connection.isPaused()) await new Promise((resolve) => setTimeout(resolve, 1))
    expect(connection.bytesRead).toBeLessThan(1_000_000)
    await finish(0)
    await once(socket, 'end')
    expect(byNode).toEqual(['/put', '/last'])
  })

  it('is not sent to a client that has gone, and its connection ends', async () => {
    const { reads, finish } = heldReads()
    const { port, server, url, byNode } = await earlyServer({ reads })
    const { socket } = connected(port)
    const [connection] = (await once(server, 'connection')) as [Socket]
    socket.write(READ)
    while (connection.bytesRead === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    socket.resetAndDestroy()
    await new Promise((resolve) => connection.once('close', resolve))
    await finish(0, false)
    expect(said((await rawHttp(url, LAST)).text)).toEqual(['<node GET /last >'])
    expect(byNode).toEqual(['/last'])
  })

  it('is waited for when the server closes, however long it takes', async () => {
    const { reads, finish } = heldReads()
    const { port, server } = await earlyServer({ reads, headersTimeout: 20, keepAliveTimeout: 20 })
    const { socket, text } = connected(port)
    socket.write(READ)
    const [connection] = (await once(server, 'connection')) as [Socket]
    for (let times = 0; times < 2; times += 1) await once(connection, 'timeout')
    const closed = once(server, 'close')
    server.close()
    const sweep = setInterval(() => server.closeIdleConnections(), 5)
    await finish(0)
    await Promise.all([closed, once(socket, 'end')])
    clearInterval(sweep)
    expect(said(text())).toEqual(['<read>'])
  })
})
