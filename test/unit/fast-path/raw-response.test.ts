import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Writable } from 'node:stream'
import { expect, it, onTestFinished, vi } from 'vitest'
import { fieldLines, headEnd, headStart, writeAnswer } from '../../../src/fast-path/raw-response.ts'

/** The two ends of a connection. The client's end is not read. */
async function connection(): Promise<{ readonly client: Socket; readonly socket: Socket }> {
  const server = createServer({ noDelay: true })
  onTestFinished(() => void server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [socket] = (await once(server, 'connection')) as [Socket]
  onTestFinished(() => void client.destroy())
  onTestFinished(() => void socket.destroy())
  return { client, socket }
}

async function received(client: Socket): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of client) parts.push(part as Buffer)
  return Buffer.concat(parts).toString('latin1')
}

it.each([
  ['without a body', 30_000, 0],
  ['that fills the space', 16, 32_752],
  ['of one byte more', 16, 32_753],
  ['of many bytes', 16, 200_000],
])(
  'an answer %s arrives unchanged, whatever other responses are written meanwhile',
  async (_what, headBytes, bodyBytes) => {
    const start = 'start\r\n'
    const answer = (letter: string) => {
      const end = headEnd(`${letter.repeat(headBytes - start.length - 4)}\r\n`)
      const body = bodyBytes === 0 ? undefined : Buffer.alloc(bodyBytes, letter)
      return { end, body, text: Buffer.concat([Buffer.from(start), end, body ?? Buffer.alloc(0)]).toString() }
    }
    const [mine, others] = [answer('a'), answer('b')]
    const [slow, other] = [await connection(), await connection()]
    let count = 0
    do {
      writeAnswer(slow.socket, start, mine.end, mine.body)
      count += 1
      // Until the kernel takes no more.
    } while (slow.socket.writableLength === 0)
    writeAnswer(other.socket, start, others.end, others.body)
    slow.socket.end()
    other.socket.end()
    expect((await received(other.client)) === others.text).toBe(true)
    expect((await received(slow.client)) === mine.text.repeat(count)).toBe(true)
  },
)

it.each([100, 40_000])('a response with a body of %i bytes is written with one call', (sizeBytes) => {
  const calls: number[] = []
  const socket = new Writable({
    write(part: Buffer, _encoding, done) {
      calls.push(part.length)
      done()
    },
    writev(parts, done) {
      calls.push(parts.reduce((sum, { chunk }) => sum + (chunk as Buffer).length, 0))
      done()
    },
  })
  writeAnswer(socket as Socket, 'start\r\n', headEnd(''), Buffer.alloc(sizeBytes))
  expect(calls).toEqual([sizeBytes + 9])
})

it('a head has its status, the date, and the time for which the connection stays open', () => {
  vi.useFakeTimers({ toFake: ['Date'], now: 1_700_000_000_999 })
  onTestFinished(() => void vi.useRealTimers())
  const stays = 'Connection: keep-alive\r\nKeep-Alive: timeout=75\r\n'
  for (const second of ['20', '21']) {
    expect(headStart(404, 'age: 3\r\n')).toBe(
      `HTTP/1.1 404 Not Found\r\nage: 3\r\nDate: Tue, 14 Nov 2023 22:13:${second} GMT\r\n${stays}`,
    )
    vi.advanceTimersByTime(1)
  }
})

it.each([
  ['a line break in a value', ['x', 'a\r\nb: c']],
  ['a character that becomes a line break in one octet', ['x', 'a\u010Ab: c']],
  ['a name that ends its line', ['x: a\r\nb', 'c']],
  ['an empty name', ['', 'c']],
])('a head never holds %s', (_what, fields) => {
  expect(fieldLines(['good', '1', ...fields])).toBeUndefined()
  expect(fieldLines(['good', '1'])).toBe('good: 1\r\n')
})
