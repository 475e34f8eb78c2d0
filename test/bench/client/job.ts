// The jobs of a client, and its results: one line of JSON each way. So a client can be a process of its own that has
// started before anything is timed. Knows nothing of servers.

/** The answer that must come. */
export interface Right {
  readonly status: 200 | 206
  readonly sizeBytes: number
  /** Digest of the body. Absent for a HEAD, which has no body. */
  readonly digest?: string
}

/** A request, and the answer that must come. */
export interface Target {
  readonly url: string
  /** First and last byte, as HTTP has it. */
  readonly range?: readonly [number, number]
  readonly right: Right
}

/** A closed loop: each connection requests the next target as soon as it has the whole answer to the last request. */
export interface LoadJob {
  readonly job: 'load'
  readonly method: 'GET' | 'HEAD'
  readonly targets: readonly Target[]
  readonly connections: number
  /** The digest to compute. `crc32` is cheap enough not to distort the measurement. */
  readonly digest: 'crc32' | 'sha256'
  /** When the job ends: after a number of answers, or after a time. */
  readonly until: { readonly answers: number } | { readonly seconds: number }
}

export interface LoadResult {
  readonly answers: number
  readonly bytes: number
  readonly seconds: number
  /** Time from a request to the first byte of its answer, and to the last. */
  readonly firstByteMs: Waits
  readonly lastByteMs: Waits
}

/** Median and 99th percentile. */
export interface Waits {
  readonly p50: number
  readonly p99: number
}

/** Many readers of one body, each at this rate. With 0 they let the answer begin and read no more. */
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
  /** What each reader has read until the end: number of bytes, and their digest. */
  readonly read: readonly { readonly bytes: number; readonly digest: string }[]
}

/** Sends many requests on one socket without waiting, and closes it when the first answer begins. */
export interface PipelineJob {
  readonly job: 'pipeline'
  readonly url: string
  readonly requests: number
}

export interface PipelineResult {
  /** Whether an answer began. If not, the server closed the socket before. */
  readonly answered: boolean
}

export type Job = LoadJob | ReadersJob | PipelineJob
export type ResultOf<J extends Job> = J extends LoadJob
  ? LoadResult
  : J extends ReadersJob
    ? ReadersResult
    : PipelineResult

/** The result that a client sends at the end of a job. */
export type Said =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: string }
