// What `hubmirror prefetch` gets in place of the bytes of a file: whether the file is stored, and how far it is until then.

import { MAKE_ROOM } from '../../disk-errors.ts'
import { ERRORS, MirrorError } from '../../errors.ts'
import { RefusedByHub } from '../../origin/failures/refused.ts'
import { type Answer, type Body, closeBody, StorageFailed, type Unstored } from '../answer.ts'
import { within } from '../turns.ts'

/** One line of the answer to a request that fills the store. The last one says whether the file is stored. */
export type FillLine =
  | { readonly presentBytes: number }
  /** `arrivedBytes` of the file have come to the mirror since the request. */
  | (FillEnd & { readonly arrivedBytes: number })

type FillEnd =
  /** `fetched` is false if the file was stored before. */
  | { readonly stored: true; readonly fetched: boolean }
  /** The range that was asked for is there, and the rest of the file is not yet. */
  | { readonly stored: 'part' }
  | {
      readonly stored: false
      readonly reason: Unstored | 'failed'
      readonly message: string
      /** Whether another try may succeed. */
      readonly mayRetry: boolean
    }

export interface LookAnswer {
  readonly sizeBytes: number
  readonly standing: 'stored' | 'absent' | Unstored
  /** How much of it is on the disk. */
  readonly presentBytes: number
}

/** A person looks at the lines: more would not be seen. */
const EVERY_MS = 250

/** Why bytes do not come to stay, in words for the operator. */
const REASONS: Readonly<Record<Unstored, string>> = {
  restricted:
    'the repo is private or gated, and HUBMIRROR_CACHE_PRIVATE is off: its files are passed through, and none is kept',
  rule: 'a rule of the policies keeps it out of the store',
  'no-digest': 'the Hub names no digest by which it could be verified, so it is never stored',
  'no-space': `the store has no space for it, or its disk has failed: ${MAKE_ROOM}`,
  loading: 'a command that brings it (bundle load, import) has not finished yet',
}

/** The answer to `LookAnswer`. */
export function lookAnswer(look: LookAnswer): Answer {
  return {
    status: 200,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
    outcome: 'hit',
    body: { kind: 'bytes', bytes: Buffer.from(JSON.stringify(look)) },
  }
}

/** Turns the answer to a GET of a file, or of a range of it, into one that reports on the file. A refusal stays as it is. */
export function fillAnswer(answer: Answer, signal: AbortSignal): Answer {
  const isPart = answer.status === 206
  if (answer.status !== 200 && !isPart) return answer
  const { outcome, originStatus, isLimited, body } = answer
  return {
    status: 200,
    headers: { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' },
    outcome,
    ...(originStatus === undefined ? {} : { originStatus }),
    isLimited,
    body: { kind: 'stream', stream: report(body, { isPart, signal }), lengthBytes: undefined },
  }
}

interface Asked {
  /** Whether only a range of the file is to be fetched. */
  readonly isPart: boolean
  readonly signal: AbortSignal
}

/** The lines about a body. They own the body: it is closed when they end, and when they are given up before. */
function report(body: Body, asked: Asked): AsyncIterable<Buffer> {
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => (closing ??= closeBody(body))
  const lines = encoded(linesOf(body, close, asked))
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => lines.next(),
      // A generator that was not started would not run its `finally`.
      async return() {
        await close()
        return lines.return(undefined)
      },
    }),
  }
}

async function* encoded(lines: AsyncIterable<FillLine>): AsyncGenerator<Buffer, undefined, undefined> {
  for await (const line of lines) yield Buffer.from(`${JSON.stringify(line)}\n`)
  return undefined
}

async function* linesOf(
  body: Body,
  close: () => Promise<void>,
  asked: Asked,
): AsyncGenerator<FillLine, void, undefined> {
  try {
    if (body.kind === 'source' && body.storing !== undefined) {
      yield* download({ source: body.source, storing: body.storing, close }, asked)
    } else if (body.kind === 'stream' && body.unstored !== undefined) {
      yield { ...unstored(body.unstored), arrivedBytes: 0 }
    } else {
      yield { stored: true, fetched: false, arrivedBytes: 0 }
    }
  } finally {
    await close()
  }
}

type Source = Extract<Body, { kind: 'source' }>

/** Waits for a download without taking its bytes. */
async function* download(
  {
    source,
    storing,
    close,
  }: {
    readonly source: Source['source']
    readonly storing: NonNullable<Source['storing']>
    readonly close: () => Promise<void>
  },
  { isPart, signal }: Asked,
): AsyncGenerator<FillLine, void, undefined> {
  const end: { isOver: boolean; error?: unknown } = { isOver: false }
  const whole = waitForAll(source)
    .catch((error: unknown) => {
      end.error = error
    })
    .finally(() => {
      end.isOver = true
    })
  let reported = -1
  while (!end.isOver) {
    if (storing.presentBytes > reported) yield { presentBytes: (reported = storing.presentBytes) }
    await within(EVERY_MS, whole)
  }
  signal.throwIfAborted()
  const { arrivedBytes } = storing
  // The download ends when its readers have left.
  await close()
  const isStored = await storing.settled()
  yield { ...endOf({ isStored, isPart, error: end.error }), arrivedBytes }
}

function endOf({
  isStored,
  isPart,
  error,
}: {
  readonly isStored: boolean
  readonly isPart: boolean
  readonly error: unknown
}): FillEnd {
  if (isStored) return { stored: true, fetched: true }
  if (error !== undefined) return failed(error)
  return isPart ? { stored: 'part' } : unstored('no-space')
}

async function waitForAll(source: Source['source']): Promise<void> {
  const { start, end } = source.range
  for (let position = start; position < end; ) position = await source.waitFor(position)
}

function unstored(reason: Unstored): FillEnd {
  return { stored: false, reason, message: REASONS[reason], mayRetry: reason === 'loading' }
}

/** Only texts of the mirror's own leave it. */
function failed(error: unknown): FillEnd {
  if (error instanceof StorageFailed) return unstored('no-space')
  if (error instanceof MirrorError) {
    const message = error.code === 'bug' ? ERRORS.bug.message : error.message
    return { stored: false, reason: 'failed', message, mayRetry: ERRORS[error.code].mayRetry }
  }
  if (error instanceof RefusedByHub) {
    const { status } = error.refusal
    const mayRetry = status === 429 || status >= 500
    return { stored: false, reason: 'failed', message: error.message, mayRetry }
  }
  throw error
}
