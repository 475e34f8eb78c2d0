// The two legs between which a cache stands while the public suite of HTTP caches is run. The suite asks /test/UUID of
// an origin that sends a few bytes of text; the mirror knows repos, and documents in JSON. So the leg in front turns each
// request into one for the info of a repo, and the leg behind answers it as a Hub would.
//
//   suite's client → front leg → the cache under test → leg behind → suite's origin
//
// What they translate, and nothing else:
// - The path: /test/UUID[/FILE][?test=X] is the info of the repo UUID/FILE, X being the cursor of a page, since a
//   query that no client of the Hub sends is not kept at all. A test has repos of its own, as it has URLs of its own.
// - The body: what the suite's origin sent becomes a field of the repo info, and is taken out of it again. Beside it
//   stand the suite's own counters (`Server-Request-Count` and its like), which say for which request of a test an answer was
//   made: an old body comes with old counters.
// - Framing: lengths are those of the document.
// - 401, 403 and 404 carry the X-Error-Code that the Hub gives them, so that what a mirror remembers of a "no" is tried.
// - `Req-Num` and `Test-ID` of the suite's client go in X-Amzn-Trace-Id, one of the few fields of a client that a mirror
//   of the Hub hands on. All other fields stand or fall by themselves.
//
// Why that is fair: neither leg stores, decides, or repeats anything; what was asked of the origin, and which answer came
// back, is the doing of the cache alone. Header fields are given to the client as the cache gave them, never as the
// origin sent them: what the mirror says of itself (`Cache-Control`, `Vary`, `Age`) is what the suite sees. And whether an
// answer was made for an earlier request is noted here for every single one, so that a reuse is seen also where the suite
// gives a test up over a header field before it looks.
//
// An answer without a body (HEAD, 204, 304) has no place for counters. It gets those of the answer that the origin gave to
// this very request; where the origin was not asked it gets none.

import { once } from 'node:events'
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

/** What the origin is taken for. */
export interface Place {
  /** Before the repo's id. */
  readonly prefix: '/api/models' | '/api/pages'
  /** Whether the Hub says that only some may read it. */
  readonly private: boolean
}

/** What became of one request of a test. */
export interface Seen {
  readonly test: string
  /** From 1. */
  readonly request: number
  /** What the origin answered to it, 0 where it broke off; undefined when it was not asked. */
  readonly originStatus: number | undefined
  /** Whether the answer was made for an earlier request. */
  readonly reused: boolean
}

export interface Legs {
  /** For the suite's client. */
  readonly url: string
  readonly seen: readonly Seen[]
  stop(): Promise<void>
}

type Counters = Readonly<Record<string, string>>
type Fields = readonly (readonly [name: string, value: string])[]

interface Wrapped {
  readonly suite: { readonly counters: Counters; readonly text: string }
}

const TRACE = 'x-amzn-trace-id'
const COUNTERS = new Set([
  'capability-seen',
  'client-request-count',
  'request-numbers',
  'server-base-url',
  'server-now',
  'server-request-count',
])
const FRAMING = new Set(['content-length', 'transfer-encoding'])
const ERROR_CODES: Readonly<Record<number, string>> = {
  401: 'RepoNotFound',
  403: 'GatedRepo',
  404: 'RepoNotFound',
}

interface Asked {
  readonly status: number
  readonly counters: Counters
}

/** The leg behind, which a cache is started in front of. */
export interface LegBehind {
  readonly url: string
  /** What the origin answered to a request; undefined when it was not asked. */
  asked(trace: string): Asked | undefined
  stop(): Promise<void>
}

export async function startLegBehind(originUrl: string, place: Place): Promise<LegBehind> {
  const asked = new Map<string, Asked>()
  const server = createServer((request, response) => {
    void answer(request, response).catch(() => response.destroy())
  })
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const trace = single(request.headers[TRACE]) ?? ''
    asked.set(trace, { status: 0, counters: {} })
    const [number = '', test = ''] = trace.split(' ')
    const given = await send(new URL(originPath(request.url ?? '', place), originUrl), request, [
      ...fieldsOf(request).filter(([name]) => !/^(host|connection|keep-alive|req-num|test-id)$/i.test(name)),
      ['Req-Num', number],
      ['Test-ID', test],
    ])
    const body = await text(given)
    const fields = fieldsOf(given)
    const counters = Object.fromEntries(fields.filter(([name]) => COUNTERS.has(name.toLowerCase())))
    const status = given.statusCode ?? 0
    asked.set(trace, { status, counters })
    const code = ERROR_CODES[status]
    const wrapped: Wrapped & Record<string, unknown> = {
      private: place.private,
      gated: false,
      suite: { counters, text: body },
    }
    const isBodiless = request.method === 'HEAD' || status === 204 || status === 304
    const bytes = Buffer.from(isBodiless ? '' : JSON.stringify(wrapped))
    response.writeHead(status, [
      ...fields
        .filter(([name]) => !FRAMING.has(name.toLowerCase()) && !COUNTERS.has(name.toLowerCase()))
        .flat(),
      ...(code === undefined ? [] : ['X-Error-Code', code]),
      ...(isBodiless ? [] : ['Content-Length', String(bytes.length)]),
    ])
    response.end(bytes)
  }
  const url = await listen(server)
  return { url, asked: (trace) => asked.get(trace), stop: () => close(server) }
}

/** The leg in front of a cache at `cacheUrl`, before which `behind` stands. */
export async function startLegs(options: {
  readonly originUrl: string
  readonly cacheUrl: string
  readonly behind: LegBehind
  readonly place: Place
}): Promise<Legs> {
  const { originUrl, cacheUrl, behind, place } = options
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    const isOfTest = request.url?.startsWith('/test/') === true
    void (isOfTest ? answer(request, response) : tell(request, response)).catch(() => response.destroy())
  })
  // What the suite tells its origin, and asks of it afterwards, is no business of the cache.
  const tell = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const given = await send(new URL(request.url ?? '', originUrl), request, fieldsOf(request))
    response.writeHead(given.statusCode ?? 502, fieldsOf(given).flat())
    given.pipe(response)
  }
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    // Tests that are made from one template share its fields, so that these say more each time: the number is read as
    // the suite's origin reads it, and the name that was added last is the test's own.
    const number = String(Number.parseInt(single(request.headers['req-num']) ?? '', 10))
    const test = single(request.headers['test-id'])?.split(', ').at(-1) ?? ''
    const path = request.url ?? ''
    const trace = `${number} ${test} ${path}`
    const given = await send(new URL(cachePath(path, place), cacheUrl), request, [
      ...fieldsOf(request).filter(([name]) => !/^(host|connection)$/i.test(name)),
      [TRACE, trace],
    ])
    const body = await text(given)
    const wrapped = unwrap(body)
    const asked = behind.asked(trace)
    const status = given.statusCode ?? 502
    const counters = wrapped?.suite.counters ?? asked?.counters ?? {}
    const madeFor = counters['Client-Request-Count']
    const reused = madeFor === undefined ? asked === undefined && status < 400 : madeFor !== number
    seen.push({ test, request: Number(number), originStatus: asked?.status, reused })
    response.writeHead(status, [
      ...fieldsOf(given)
        .filter(([name]) => !FRAMING.has(name.toLowerCase()))
        .flat(),
      ...Object.entries(counters).flat(),
    ])
    response.end(wrapped?.suite.text ?? body)
  }
  const url = await listen(server)
  return { url, seen, stop: () => close(server) }
}

/** `/test/UUID/FILE?test=X` as a target of the Hub. */
function cachePath(path: string, { prefix }: Place): string {
  const { pathname, search } = new URL(path, 'http://suite')
  const [, , uuid = '', file = 'info'] = pathname.split('/')
  return `${prefix}/${uuid}/${file}${search.replace('?test=', '?cursor=')}`
}

function originPath(target: string, { prefix }: Place): string {
  const { pathname, search } = new URL(target, 'http://suite')
  const [uuid = '', file = ''] = pathname.slice(prefix.length + 1).split('/')
  return `/test/${uuid}${file === 'info' ? '' : `/${file}`}${search.replace('?cursor=', '?test=')}`
}

function unwrap(body: string): Wrapped | undefined {
  try {
    const value = JSON.parse(body) as Partial<Wrapped> | null
    return value?.suite === undefined ? undefined : { suite: value.suite }
  } catch {
    return undefined
  }
}

/** One request on a connection of its own; resolves when the head of the answer is there. */
async function send(url: URL, from: IncomingMessage, fields: Fields): Promise<IncomingMessage> {
  const request = httpRequest(url, { method: from.method ?? 'GET', agent: false })
  for (const name of new Set(fields.map(([name]) => name.toLowerCase()))) {
    const values = fields.filter(([other]) => other.toLowerCase() === name).map(([, value]) => value)
    request.setHeader(name, values.length === 1 ? (values[0] ?? '') : values)
  }
  const answered = once(request, 'response') as Promise<[IncomingMessage]>
  // Errors after the end of the answer don't matter.
  request.on('error', () => undefined)
  from.pipe(request)
  const [given] = await answered
  return given
}

function fieldsOf({ rawHeaders }: IncomingMessage): [string, string][] {
  const fields: [string, string][] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    fields.push([rawHeaders[index] ?? '', rawHeaders[index + 1] ?? ''])
  }
  return fields
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function close(server: Server): Promise<void> {
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
}
