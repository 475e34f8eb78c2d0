// The thread that hashes files while they grow (hash-thread.ts is the other end). It reads them through its own
// descriptors, one slice of each in turn, so that a large file does not delay the others. It knows a file, its key, and how
// far it may read.

import { closeSync, openSync, readSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { BlockSums } from '../blobs/block-sums.ts'
import { Verifier } from '../digest.ts'
import type { HashReply, HashRequest } from './hash-thread.ts'

const SLICE_BYTES = 4 * 1024 * 1024
const READ_BYTES = 1024 * 1024

interface Job {
  readonly fd: number
  readonly verifier: Verifier
  readonly sizeBytes: number
  readonly sums: BlockSums | undefined
  /** The bytes before this position have landed without a gap. */
  end: number
}

const jobs = new Map<number, Job>()
const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
let scheduled = false

parentPort?.on('message', (request: HashRequest) => {
  try {
    accept(request)
  } catch (error) {
    fail(request.id, error)
  }
})

function accept(request: HashRequest): void {
  switch (request.kind) {
    case 'open': {
      const { id, file, key, sizeBytes } = request
      const sums = request.withSums ? new BlockSums(sizeBytes) : undefined
      const verifier = new Verifier(key, sizeBytes, { tee: sums })
      jobs.set(id, { fd: openSync(file, 'r'), verifier, sizeBytes, sums, end: 0 })
      break
    }
    case 'advance': {
      const job = jobs.get(request.id)
      if (job !== undefined) job.end = Math.max(job.end, request.end)
      break
    }
    case 'close':
      end(request.id)
      return
    default:
      request satisfies never
  }
  schedule()
}

function schedule(): void {
  if (scheduled) return
  scheduled = true
  // One round per turn of the event loop, so that messages are received between slices.
  setImmediate(() => {
    scheduled = false
    let more = false
    for (const [id, job] of jobs) {
      try {
        more = slice(id, job) || more
      } catch (error) {
        fail(id, error)
      }
    }
    if (more) schedule()
  })
}

/** Hashes up to one slice of a file. Returns whether more of it can be hashed now. */
function slice(id: number, job: Job): boolean {
  const stop = Math.min(job.end, job.verifier.position + SLICE_BYTES)
  while (job.verifier.position < stop) {
    const length = Math.min(buffer.length, stop - job.verifier.position)
    const read = readSync(job.fd, buffer, 0, length, job.verifier.position)
    if (read === 0) throw new Error('the file is shorter than announced')
    job.verifier.update(buffer.subarray(0, read))
  }
  if (job.verifier.position === job.sizeBytes) {
    reply({ id, kind: 'done', matches: job.verifier.matches(), sums: job.sums?.values })
    end(id)
    return false
  }
  return job.verifier.position < job.end
}

function fail(id: number, error: unknown): void {
  end(id)
  reply({ id, kind: 'failed', reason: error instanceof Error ? error.message : String(error) })
}

function end(id: number): void {
  const job = jobs.get(id)
  if (job === undefined) return
  jobs.delete(id)
  closeSync(job.fd)
}

function reply(message: HashReply): void {
  parentPort?.postMessage(message)
}
