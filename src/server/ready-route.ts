// What the mirror has ready is answered here, before the framework and without waiting: a lookup, the checks that every
// request passes, one write. Whatever is not quite so goes the long way, which also says what is wrong with it.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Caller, Callers } from '../callers/caller.ts'
import type { FileRoute } from '../hub/route.ts'
import { type Answer, ageHeader } from '../mirror/answer.ts'
import type { ClientName } from '../mirror/context.ts'
import { noteAllowed } from '../mirror/note.ts'
import type { ReadyAnswer, ReadyAnswers } from '../mirror/ready.ts'
import { type Accounts, account } from './account.ts'
import { checkRequest, nameOf, noteCaller, noteRoute, requestId } from './context.ts'
import { READY_FIELD } from './peer.ts'
import { outcomeHeaders } from './send.ts'
import { Trace } from './trace.ts'
import type { WorkerLink } from './worker-link.ts'

/** What is asked of the mirror, or of a worker in its place. */
export interface ReadyMirror {
  readonly ready: ReadyAnswers
  admitReady(caller: Caller, route: FileRoute): string | undefined
  pin(client: ClientName, answer: ReadyAnswer): void
}

export interface ReadyRouteOptions extends Accounts {
  readonly mirror: ReadyMirror
  readonly callers: Pick<Callers, 'recognise'>
  /** Where workers may repeat the answer. */
  readonly workers?: WorkerLink | undefined
  readonly via: string
  /** Whose request it is, past the proxies that are trusted. */
  readonly addressOf: (request: IncomingMessage) => string | undefined
  readonly isServed: ((address: string | undefined, route: undefined) => boolean) | undefined
}

/** Answers a request if the answer is ready; false when it is not, and nothing has happened then. */
export function createReadyRoute(
  options: ReadyRouteOptions,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  const { ready } = options.mirror
  return (request, response) => {
    const { method, url = '' } = request
    if (method !== 'GET' && method !== 'HEAD') return false
    const answer = ready.recall(method, url)
    // One that waits for its turn on the connection is counted with the others that do.
    if (answer === undefined || response.socket === null || hasConditions(request)) return false
    const bytes = method === 'GET' ? answer.bytes?.() : undefined
    if (method === 'GET' && bytes === undefined) return false
    const trace = new Trace(requestId(request))
    const address = options.addressOf(request)
    if (!mayBeServed(request, address, { answer, trace, options })) return false
    noteRoute(trace, answer.route)
    noteAllowed(trace.access, 'public')
    trace.outcome = 'hit'
    trace.firstByteAt = performance.now()
    trace.bytes = bytes?.length ?? 0
    const { age } = ageHeader(ready.ageOf(answer))
    const head = ['x-request-id', trace.id, ...answer.headers]
    if (age !== undefined) head.push('age', age)
    const note = options.workers?.ready(answer)
    if (note !== undefined) head.push(READY_FIELD, note)
    response.writeHead(answer.status, head)
    response.end(bytes)
    account({ method, address, response }, trace, options)
    return true
  }
}

/** What of an answer is the same for everybody, as it is remembered. */
export function readyAnswer(
  answer: Answer,
  route: ReadyAnswer['route'],
  ready: NonNullable<Answer['ready']>,
): ReadyAnswer {
  const { age: _age, ...headers } = { ...answer.headers, ...outcomeHeaders(answer) }
  return { ...ready, route, status: answer.status, headers: Object.entries(headers).flat() }
}

/** Whether a request asks for anything but the whole, whatever there was before. */
export function hasConditions({ headers }: IncomingMessage): boolean {
  return (
    headers.range !== undefined || headers['if-none-match'] !== undefined || headers['if-range'] !== undefined
  )
}

function mayBeServed(
  request: IncomingMessage,
  address: string | undefined,
  context: {
    readonly answer: ReadyAnswer
    readonly trace: Trace
    readonly options: ReadyRouteOptions
  },
): boolean {
  const { answer, trace, options } = context
  const { method = '' } = request
  if (address === undefined || options.isServed?.(address, undefined) === false) return false
  try {
    checkRequest(request, options.via)
    const { authorization } = request.headers
    const { caller } = options.callers.recognise({ authorization, address, method }, answer.route)
    if (caller.kind === 'mirror-token') return false
    const rules = options.mirror.admitReady(caller, answer.route)
    if (rules === undefined) return false
    if (rules !== '') trace.access.rule = rules
    noteCaller(trace, caller, authorization)
    if (method === 'HEAD') options.mirror.pin({ address, fingerprint: nameOf(authorization) }, answer)
    return true
  } catch {
    return false
  }
}
