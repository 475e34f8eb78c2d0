import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { describe, expect, it, onTestFinished } from 'vitest'
import { parseHubUrl } from '../../../src/hub/route.ts'
import type { Ctx } from '../../../src/mirror/context.ts'
import { DocumentMemory } from '../../../src/mirror/documents/document-memory.ts'
import { type DocumentRoute, HubDocuments } from '../../../src/mirror/documents/hub-documents.ts'
import { RepoMoved } from '../../../src/origin/repo-moved.ts'
import { originClientOf } from '../../support/origin-client.ts'

type Answerer = (request: IncomingMessage, response: ServerResponse) => void

/** A Hub that answers when `let` is called, or at once where an answerer is given. */
async function scene(answerer?: Answerer, memory = new DocumentMemory()) {
  const asked: { readonly request: IncomingMessage; readonly response: ServerResponse }[] = []
  let answer = (): void => undefined
  const server = createServer((request, response) => {
    asked.push({ request, response })
    answer()
    answerer?.(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = originClientOf(server, { connections: 32 })
  onTestFinished(async () => {
    await client.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const denials: string[] = []
  const access = { deniedSince: (fingerprint: string) => denials.includes(fingerprint) }
  const hub = new HubDocuments({ client, access, memory, monotonic: () => performance.now() })
  return {
    hub,
    memory,
    asked,
    denials,
    /** Resolves when so many questions have arrived. */
    arrived: (count: number) =>
      new Promise<void>((resolve) => {
        answer = () => {
          if (asked.length >= count) resolve()
        }
        answer()
      }),
  }
}

function routeOf(target: string): DocumentRoute {
  const route = parseHubUrl(target, '/')
  if (route.kind !== 'document') throw new Error(`no document: ${target}`)
  return route
}

function ctxOf(name: string, more: Partial<Ctx> = {}): Ctx {
  return {
    fingerprint: name,
    authorization: name === 'anonymous' ? undefined : `Bearer ${name}`,
    caller: { kind: 'anonymous', address: '127.0.0.1' },
    forward: {},
    originRequests: { count: 0 },
    ...more,
  } as unknown as Ctx
}

const INFO = routeOf('/api/models/o/n')
const GET = { method: 'GET', body: undefined, contentType: undefined } as const
const ASKING = { hasFallback: false }
const json = (response: ServerResponse, body: string | Buffer, headers: Record<string, string> = {}) =>
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(body)

describe('a request for a document', () => {
  it('is sent once for all concurrent callers with the same credential, and never shared with others', async () => {
    const { hub, asked, arrived } = await scene()
    const names = ['anonymous', 'anonymous', 'alice', 'bob', 'alice', 'anonymous']
    const answers = names.map((name) => hub.ask(ctxOf(name), INFO, GET, ASKING))
    await arrived(3)
    for (const { request, response } of asked) json(response, request.headers.authorization ?? 'nobody')
    const answer = await Promise.all(answers)
    expect(answer.map(({ answer: { body } }) => body.toString())).toEqual(
      names.map((name) => (name === 'anonymous' ? 'nobody' : `Bearer ${name}`)),
    )
    expect(asked.length).toBe(3)
    expect(answer[0]?.answer.body).toBe(answer[1]?.answer.body)
    const again = hub.ask(ctxOf('alice'), INFO, GET, ASKING)
    await arrived(4)
    json(asked[3]!.response, '{}')
    expect((await again).answer.body.toString()).toBe('{}')
  })

  it('differs by target, body and the validator of what is stored', async () => {
    const { hub, asked } = await scene((request, response) => json(response, request.url ?? ''))
    const post = (body: string) =>
      ({ method: 'POST', body: Buffer.from(body), contentType: 'application/json' }) as const
    const ctx = ctxOf('alice')
    await Promise.all([
      hub.ask(ctx, INFO, GET, ASKING),
      hub.ask(ctx, routeOf('/api/models/o/n?blobs=true'), GET, ASKING),
      hub.ask(ctx, routeOf('/api/models/o/n/paths-info/main'), post('{"paths":["a"]}'), ASKING),
      hub.ask(ctx, routeOf('/api/models/o/n/paths-info/main'), post('{"paths":["b"]}'), ASKING),
      hub.ask(ctx, INFO, GET, { ...ASKING, etag: '"a"' }),
    ])
    expect(asked.length).toBe(5)
  })

  it('names the validator of what is stored, and an answer that this is unchanged has no body', async () => {
    const { hub, asked } = await scene((_, response) =>
      response.writeHead(304, { etag: 'W/"1"', 'content-length': '900000' }).end(),
    )
    const { answer } = await hub.ask(ctxOf('alice'), INFO, GET, { hasFallback: true, etag: 'W/"1"' })
    expect([answer.status, answer.body.length]).toEqual([304, 0])
    expect(asked[0]?.request.headers['if-none-match']).toBe('W/"1"')
  })

  it('is sent again after a write, and after a right was refused', async () => {
    const { hub, asked, arrived, denials } = await scene()
    const first = hub.ask(ctxOf('alice'), INFO, GET, ASKING)
    hub.changed()
    const second = hub.ask(ctxOf('alice'), INFO, GET, ASKING)
    await arrived(2)
    denials.push('alice')
    const third = hub.ask(ctxOf('alice'), INFO, GET, ASKING)
    await arrived(3)
    asked.forEach(({ response }, index) => json(response, `${index}`))
    const bodies = await Promise.all(
      [first, second, third].map(async (each) => (await each).answer.body.toString()),
    )
    expect(bodies).toEqual(['0', '1', '2'])
  })

  it('is sent again, when it is redirected to another name, for callers that were decided about under other names', async () => {
    const { hub, asked } = await scene((request, response) => {
      if (request.url === '/api/models/o/n') response.writeHead(307, { location: '/api/models/o/new' }).end()
      else json(response, '{"id":"o/new"}')
    })
    const onRedirect = () => {
      throw new RepoMoved()
    }
    const old = ctxOf('anonymous', { admission: { names: 'o/n', onRedirect } as unknown as Ctx['admission'] })
    const both = ctxOf('anonymous', {
      admission: { names: 'o/n o/new', onRedirect: () => undefined } as unknown as Ctx['admission'],
    })
    const [one, other] = await Promise.allSettled([
      hub.ask(old, INFO, GET, ASKING),
      hub.ask(both, INFO, GET, ASKING),
    ])
    expect(one).toMatchObject({ status: 'rejected', reason: expect.any(RepoMoved) })
    expect(other.status).toBe('fulfilled')
    expect(asked.length).toBe(3)
  })
})

describe('the body of a document', () => {
  const text = JSON.stringify(Array.from({ length: 20_000 }, (_, index) => ({ path: `file ${index}` })))
  const encoded: readonly [string, Buffer][] = [
    ['gzip', gzipSync(text)],
    ['X-GZip', gzipSync(text)],
    ['deflate', deflateSync(text)],
    ['br', brotliCompressSync(text)],
    ['identity', Buffer.from(text)],
  ]

  it.each(encoded)('is decoded if it is encoded as %s', async (coding, bytes) => {
    const { hub } = await scene((_, response) =>
      json(response, bytes, { 'content-encoding': coding, 'content-length': String(bytes.length) }),
    )
    const { answer } = await hub.ask(ctxOf('anonymous'), INFO, GET, ASKING)
    expect(answer.body.toString() === text).toBe(true)
    expect(answer.headers['content-encoding'] ?? 'identity').toBe('identity')
  })

  it.each([
    ['is not what it says', 'gzip', Buffer.from('no gzip')],
    ['ends early', 'gzip', gzipSync(text).subarray(0, 1000)],
    ['is of a coding that nobody knows', 'aes128gcm', Buffer.from('{}')],
    ['is encoded twice', 'gzip, gzip', gzipSync(gzipSync('{}'))],
    ['is a bomb', 'gzip', gzipSync(Buffer.alloc(140 * 1024 * 1024), { level: 1 })],
  ] as const)('is not used if it %s', async (_, coding, bytes) => {
    const { hub, memory } = await scene((__, response) =>
      json(response, bytes, { 'content-encoding': coding }),
    )
    await expect(hub.ask(ctxOf('anonymous'), INFO, GET, ASKING)).rejects.toMatchObject({
      code: 'origin_bad_answer',
    })
    expect(memory.takenBytes).toBe(0)
  })

  it('takes memory from its first byte until the last caller has released it', async () => {
    const bytes = Buffer.alloc(300_000, 'x')
    const { hub, memory, asked, arrived } = await scene()
    const answers = [1, 2].map(() => hub.ask(ctxOf('anonymous'), INFO, GET, ASKING))
    await arrived(1)
    json(asked[0]!.response, bytes, { 'content-length': '300000' })
    const [one, other] = await Promise.all(answers)
    expect(memory.takenBytes).toBe(300_000)
    one?.done()
    one?.done()
    expect(memory.takenBytes).toBe(300_000)
    const leave = await memory.hold(one!.answer.body, 'somebody')
    other?.done()
    expect(memory.takenBytes).toBe(300_000)
    leave()
    expect(memory.takenBytes).toBe(0)
  })

  it('takes memory as it grows if its length is not announced', async () => {
    const { hub, memory } = await scene((_, response) => {
      response.writeHead(200)
      for (let piece = 0; piece < 10; piece += 1) response.write(Buffer.alloc(100_000))
      response.end()
    })
    const { answer, done } = await hub.ask(ctxOf('anonymous'), INFO, GET, ASKING)
    expect([answer.body.length, memory.takenBytes]).toEqual([1_000_000, 1_000_000])
    done()
    expect(memory.takenBytes).toBe(0)
  })

  it('is refused when there is no memory for it in time, and others are not', async () => {
    const memory = new DocumentMemory({ limitBytes: 1_000_000, maxWaitMs: 20 })
    const { hub } = await scene((request, response) => {
      const size = request.url === '/api/models/o/n' ? 900_000 : 1_000
      json(response, Buffer.alloc(size, '1'), { 'content-length': String(size) })
    }, memory)
    const { done } = await hub.ask(ctxOf('anonymous'), INFO, GET, ASKING)
    await expect(hub.ask(ctxOf('alice'), INFO, GET, ASKING)).rejects.toMatchObject({ code: 'overloaded' })
    const small = await hub.ask(ctxOf('alice'), routeOf('/api/models/o/small'), GET, ASKING)
    expect(small.answer.body.length).toBe(1_000)
    done()
    await expect(hub.ask(ctxOf('alice'), INFO, GET, ASKING)).resolves.toBeDefined()
  })
})
