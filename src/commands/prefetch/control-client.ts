// Requests to the mirror over its control socket, with the token of the user who runs the command.

import { Agent, type IncomingMessage, request } from 'node:http'
import { waitMsOf } from '../../http/retry-after.ts'
import { parseRecord } from '../../records.ts'
import { QUOTA_FIELD, WISH_FIELD, type Wish } from '../../server/control.ts'
import { errorCode } from '../../store/atomic.ts'
import { MirrorGone, type MirrorWatch } from './silence.ts'

/** Requests in flight at once: as many as huggingface_hub has. */
export const PARALLEL = 8
/** More than any page of a listing, and than the info of any repo. */
const MAX_BODY_BYTES = 128 * 1024 * 1024

/** The connection broke before the answer was complete. */
export class AnswerBroken extends Error {
  constructor(cause?: unknown) {
    super('the mirror broke the connection', { cause })
    this.name = 'AnswerBroken'
  }
}

/** An answer as a whole. */
export interface Reply {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
}

interface Question {
  readonly signal: AbortSignal
  readonly wish?: Wish
  /** The Range field, for a part of a file. */
  readonly range?: string | undefined
  readonly headers?: Readonly<Record<string, string>>
}

/** The caller must close it. */
export class ControlClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: PARALLEL })
  readonly #socketPath: string
  readonly #headers: Readonly<Record<string, string>>
  readonly #watch: MirrorWatch | undefined

  /** `watch` ends requests with MirrorSilent. A process that asks itself needs none. */
  constructor(
    socketPath: string,
    {
      token,
      version,
      program = 'hubmirror-prefetch',
      watch,
      sparesQuota = false,
    }: {
      readonly token?: string | undefined
      readonly version: string
      readonly program?: string
      readonly watch?: MirrorWatch | undefined
      /** Whether the last tenth of the Hub's quota is left for clients: answers are 429 meanwhile. */
      readonly sparesQuota?: boolean
    },
  ) {
    this.#socketPath = socketPath
    this.#watch = watch
    this.#headers = {
      host: 'localhost',
      'user-agent': `${program}/${version}`,
      ...(sparesQuota ? { [QUOTA_FIELD]: 'spare' } : {}),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    }
  }

  /**
   * Sends a GET, and resolves with the answer when its head is there. Rejects with MirrorGone if no process listens or it is
   * silent, with AnswerBroken if the connection breaks, and with the reason of `signal`.
   */
  async open(target: string, question: Question): Promise<IncomingMessage> {
    for (;;) {
      const sent = this.#send(target, question)
      try {
        return await sent.answer
      } catch (error) {
        question.signal.throwIfAborted()
        if (error instanceof MirrorGone) throw error
        const code = errorCode(error)
        if (code === 'ECONNREFUSED' || code === 'ENOENT') throw new MirrorGone(error)
        // The mirror has closed a connection that was idle.
        if (!sent.isReused()) throw new AnswerBroken(error)
      }
    }
  }

  /** Sends a GET, and resolves with the whole answer. Rejects as `open` does. */
  async ask(target: string, question: Question): Promise<Reply> {
    const answer = await this.open(target, question)
    return { status: answer.statusCode ?? 0, headers: answer.headers, text: await readText(answer, question) }
  }

  close(): void {
    this.#agent.destroy()
  }

  #send(target: string, { signal, wish, range, headers: more }: Question) {
    const headers = {
      ...this.#headers,
      ...more,
      ...(wish === undefined ? {} : { [WISH_FIELD]: wish }),
      ...(range === undefined ? {} : { range }),
    }
    const outgoing = request({
      socketPath: this.#socketPath,
      path: target,
      headers,
      agent: this.#agent,
      signal,
    })
    const ended = this.#watch?.begin(outgoing)
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', (response: IncomingMessage) => {
        ended?.()
        const endedToo = this.#watch?.begin(response)
        if (endedToo !== undefined) response.once('close', endedToo)
        resolve(response)
      })
      // Also after the answer has begun: without a listener, Node would end the process.
      outgoing.on('error', (error) => {
        ended?.()
        reject(error)
      })
      outgoing.end()
    })
    return { answer, isReused: () => outgoing.reusedSocket }
  }
}

/** Reads the body of an answer. Rejects as `ControlClient.open` does. */
export async function readText(answer: IncomingMessage, { signal }: Question): Promise<string> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length
      if (sizeBytes > MAX_BODY_BYTES) throw new Error('the answer is too long')
      chunks.push(chunk)
    }
  } catch (error) {
    signal.throwIfAborted()
    throw error instanceof MirrorGone ? error : new AnswerBroken(error)
  }
  return Buffer.concat(chunks).toString()
}

/** The lines of an answer, as they come. Rejects as `ControlClient.open` does. */
export async function* readLines(
  answer: IncomingMessage,
  { signal }: Question,
): AsyncGenerator<string, void, undefined> {
  let rest = ''
  try {
    for await (const chunk of answer.setEncoding('utf8') as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      yield* lines
    }
  } catch (error) {
    signal.throwIfAborted()
    throw error instanceof MirrorGone ? error : new AnswerBroken(error)
  }
}

/** Why the mirror, or the Hub behind it, does not give what was asked for. */
export function refusalText({ status, headers, text }: Reply): string {
  const { 'x-error-message': given } = headers
  if (typeof given === 'string' && given !== '') return given
  const error = parseRecord(text)?.['error']
  return typeof error === 'string' && error !== '' ? error : `the answer has the status ${status}`
}

/** What kind of refusal an answer is. `quota`: the rest of the Hub's quota is left for clients. All others follow from the status. */
export type RefusalKind = 'rate-limit' | 'quota' | 'refused' | 'hub-away' | 'failed'

/** What a status other than 200 says of the Hub, or of the repo. */
export function refusalKind({ status, headers }: Pick<Reply, 'status' | 'headers'>): RefusalKind {
  if (status === 429) return isQuotaLeft(headers) ? 'quota' : 'rate-limit'
  if ([401, 403, 404, 410, 451].includes(status)) return 'refused'
  return status === 408 || status >= 500 ? 'hub-away' : 'failed'
}

/** Statuses after which another try may succeed. */
const RETRIED: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504])

/** Whether and when another try is of use. */
export interface Again {
  /** How long to wait before it, in ms; undefined if it is of no use, 0 if no time is known. */
  readonly retryMs?: number | undefined
  /** Whether the wait is for the quota, which all that this process asks the Hub has in common. */
  readonly isForQuota?: boolean
  /** Whether that is not used up, and the rest of it is left for clients. */
  readonly isQuotaLeft?: boolean
}

function isQuotaLeft(headers: Reply['headers']): boolean {
  return headers[QUOTA_FIELD] === 'left'
}

/** The same, as an answer says it. */
export function againOf({ status, headers }: Pick<Reply, 'status' | 'headers'>): Again {
  if (!RETRIED.has(status)) return {}
  const retryMs = waitMsOf(headers, Date.now()) ?? 0
  return { retryMs, isForQuota: status === 429, isQuotaLeft: isQuotaLeft(headers) }
}
