import { getEventListeners } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { ByteSource } from '../../../src/mirror/answer.ts'
import type { FileReads } from '../../../src/server/body/file-reads.ts'
import { sendSource, sendStream } from '../../../src/server/body/send.ts'
import { RequestRecord } from '../../../src/server/request-record.ts'

/** The answer to the second request on a connection whose first one is never answered: its turn never comes. */
async function answerWithoutTurn(): Promise<ServerResponse> {
  const server = createServer()
  onTestFinished(() => server.close().closeAllConnections())
  const second = new Promise<ServerResponse>((resolve) => {
    server.on('request', (request, response) => {
      if (request.url === '/second') resolve(response)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  onTestFinished(() => void client.destroy())
  client.write('GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n')
  return second
}

/** A stream without end. `onNext` is called for each piece that is wanted. */
function endless(onNext: () => void = () => undefined) {
  const state = { isReturned: false }
  const stream: AsyncIterable<Buffer> = {
    [Symbol.asyncIterator]: () => ({
      async next() {
        onNext()
        return { done: false, value: Buffer.from('x') }
      },
      async return() {
        state.isReturned = true
        return { done: true, value: undefined }
      },
    }),
  }
  return { stream, state }
}

/** A stream that waits for its client, by timers that the test plays; `sent` settles when it has ended. */
async function waiting(isWanted?: () => boolean) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const { stream, state } = endless()
  const record = new RequestRecord('x')
  const sent = sendStream(await answerWithoutTurn(), stream, () => undefined, { record, isWanted })
  await vi.waitUntil(() => vi.getTimerCount() === 1)
  return { state, record, sent }
}

describe('a stream whose turn on its connection never came', () => {
  it('leaves nothing behind when the client disconnects', async () => {
    const { state, record, sent } = await waiting()
    record.leave()
    await sent
    expect([vi.getTimerCount(), state.isReturned, record.bytes]).toEqual([0, true, 0])
  })

  it('ends when the client disconnects before the first piece has come', async () => {
    const record = new RequestRecord('x')
    const { stream, state } = endless(() => record.leave())
    await sendStream(await answerWithoutTurn(), stream, () => undefined, { record })
    expect([state.isReturned, record.bytes]).toEqual([true, 0])
  })

  it.each([
    ['two minutes', 120_000, () => false],
    ['a quarter of a minute, while others wait,', 15_000, () => true],
  ])('ends when its client has read nothing for %s, and keeps no listener', async (_, ms, isWanted) => {
    const { state, record, sent } = await waiting(isWanted)
    vi.advanceTimersByTime(ms - 1)
    expect([state.isReturned, record.error]).toEqual([false, undefined])
    vi.advanceTimersByTime(1)
    await sent
    expect([state.isReturned, getEventListeners(record.signal, 'abort')]).toEqual([true, []])
    expect(record.error).toMatchObject({ code: 'PACE_TIMEOUT' })
  })

  it('ends soon when other requests begin to wait for what it holds', async () => {
    const wanted = { is: false }
    const { state, sent } = await waiting(() => wanted.is)
    vi.advanceTimersByTime(60_000)
    expect(state.isReturned).toBe(false)
    wanted.is = true
    vi.advanceTimersByTime(20_000)
    await sent
    expect(state.isReturned).toBe(true)
  })
})

it('a file whose client disconnects releases each lease once, and says which bytes may not have been sent', async () => {
  const events: string[] = []
  const reads = {
    register: () => ({
      read: async (position: number) => ({
        bytes: Buffer.alloc(64 * 1024),
        release: ({ sent }: { readonly sent: boolean }) => events.push(`${position}: ${sent}`),
      }),
      readsAhead: () => true,
      leave: () => events.push('left'),
    }),
  } as unknown as FileReads
  const end = 1024 * 1024
  const source: ByteSource = {
    range: { start: 0, end },
    waitFor: () => Promise.resolve(end),
    read: () => Promise.reject(new Error('read by others')),
    close: async () => void events.push('closed'),
  }
  const record = new RequestRecord('x')
  const response = await answerWithoutTurn()
  const write = vi.spyOn(response, 'write')
  const sent = sendSource(response, { kind: 'source', source }, () => undefined, { record, reads })
  await vi.waitUntil(() => write.mock.calls.length === 1)
  record.leave()
  await sent
  expect(events.toSorted()).toEqual(['0: false', '65536: true', 'closed', 'left'])
  expect(events.at(-1)).toBe('closed')
})
