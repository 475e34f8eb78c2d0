// What a client is asked to do, and what it tells. One line of JSON each way, so a client can be a process of its own
// that is there before anything is timed. Knows nothing of servers.

/** An answer that is right. */
export interface Right {
  readonly status: 200 | 206
  readonly sizeBytes: number
  /** Of the body. Not asked of a HEAD, which has none. */
  readonly digest?: string
}

/** What is asked for, and what must come. */
export interface Target {
  readonly url: string
  /** First and last byte, as HTTP has it. */
  readonly range?: readonly [number, number]
  readonly right: Right
}

/** A closed loop: each connection asks for the next target as soon as it has the whole of the one before. */
export interface LoadJob {
  readonly job: 'load'
  readonly method: 'GET' | 'HEAD'
  readonly targets: readonly Target[]
  readonly connections: number
  /** How digests are taken: `crc32` is cheap enough not to be what is measured. */
  readonly digest: 'crc32' | 'sha256'
  /** When it ends: after so many answers, or when the time is over. */
  readonly until: { readonly answers: number } | { readonly seconds: number }
}

export interface LoadResult {
  readonly answers: number
  readonly bytes: number
  readonly seconds: number
  /** From a question to the first byte of its answer, and to the last. */
  readonly firstByteMs: Waits
  readonly lastByteMs: Waits
}

/** How long half of all waited at most, and 99 of 100. */
export interface Waits {
  readonly p50: number
  readonly p99: number
}

/** Many readers of one body that take it at a rate each, or (0) let it begin and read no more. */
export interface ReadersJob {
  readonly job: 'readers'
  readonly url: string
  readonly readers: number
  readonly bytesPerSecond: number
  readonly seconds: number
}

export interface ReadersResult {
  /** How many were still connected at the end. */
  readonly connected: number
  /** What each has read by then: how much, and its digest. */
  readonly read: readonly { readonly bytes: number; readonly digest: string }[]
}

/** Asks many times on one socket without waiting, and closes it once the first answer begins. */
export interface PipelineJob {
  readonly job: 'pipeline'
  readonly url: string
  readonly requests: number
}

export interface PipelineResult {
  /** Whether an answer began; else the server closed the socket before. */
  readonly answered: boolean
}

export type Job = LoadJob | ReadersJob | PipelineJob
export type ResultOf<J extends Job> = J extends LoadJob
  ? LoadResult
  : J extends ReadersJob
    ? ReadersResult
    : PipelineResult

/** What a client says at the end of a job. */
export type Said =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: string }
