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

/**
 * Opens slow connections, which stay open until the client process ends. Each has its own file or upload to finish, and is
 * far too slow to finish it. With 0 connections it only counts those that are open.
 */
export interface StrangersJob {
  readonly job: 'strangers'
  readonly url: string
  /** Read an answer that is passed through, read a private file, or upload. */
  readonly way: 'passed' | 'private' | 'upload'
  readonly token?: string
  readonly connections: number
  /** Whether all have the same client address, as X-Forwarded-For says. */
  readonly addresses: 'one' | 'many'
  /** How long the job waits after it has opened them. */
  readonly seconds: number
}

export interface StrangersResult {
  readonly connected: number
}

/** Requests one after the other: the first target of each server, then the second of each, and so on. */
export interface TurnsJob {
  readonly job: 'turns'
  readonly method: 'GET' | 'HEAD'
  readonly servers: readonly (readonly Target[])[]
  readonly pauseMs: number
}

export interface TurnsResult {
  /** For each server, in their order. */
  readonly lastByteMs: readonly (Waits & { readonly longest: number })[]
}

export type Job = LoadJob | ReadersJob | PipelineJob | StrangersJob | TurnsJob
/** The result of each kind of job. */
interface Results {
  readonly load: LoadResult
  readonly readers: ReadersResult
  readonly pipeline: PipelineResult
  readonly strangers: StrangersResult
  readonly turns: TurnsResult
}

export type ResultOf<J extends Job> = Results[J['job']]

/** The result that a client sends at the end of a job. */
export type Said =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: string }
