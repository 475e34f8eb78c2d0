// A TLS server on loopback whose answers each test writes byte by byte, and what tests do with bodies of it.

import { once } from 'node:events'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createServer, type TLSSocket } from 'node:tls'
import { onTestFinished, vi } from 'vitest'
import { BodyThreads } from '../../../../src/origin/threads/body-threads.ts'
import type { BodyLimits } from '../../../../src/origin/threads/messages.ts'
import { ThreadBody } from '../../../../src/origin/threads/thread-body.ts'
import { FileWriter } from '../../../../src/store/partials/file-writer.ts'
import { GOOD_CERTIFICATE, SERVER_KEY } from '../../../support/certificates.ts'

export const LIMITS: BodyLimits = {
  connectMs: 10_000,
  silenceMs: 60_000,
  floor: { bytesPerSecond: 1, graceMs: 600_000 },
}
export const NEVER = new AbortController().signal
export const MIB = 1024 * 1024

type Answer = (socket: TLSSocket, request: string, connection: number) => void

/** A TLS server that calls `answer` for each request, with the number of its connection. */
export async function serve(answer: Answer): Promise<URL> {
  let connections = 0
  const sockets = new Set<TLSSocket>()
  const server = createServer({ key: SERVER_KEY, cert: GOOD_CERTIFICATE }, (socket) => {
    connections += 1
    const connection = connections
    sockets.add(socket)
    let text = ''
    socket.on('error', () => undefined)
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      if (end < 0) return
      const request = text.slice(0, end)
      text = text.slice(end + 4)
      answer(socket, request, connection)
    })
  })
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  return new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/file`)
}

/** Threads that trust every certificate, unless `trust` is false. */
export function threadsOf(
  limits: Partial<BodyLimits> = {},
  { trust = true, most = 1 }: { readonly trust?: boolean; readonly most?: number } = {},
): BodyThreads {
  if (trust) {
    // A thread takes a copy of the environment when it starts.
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
    onTestFinished(() => {
      vi.unstubAllEnvs()
    })
  }
  const threads = new BodyThreads({ ...LIMITS, ...limits }, most)
  onTestFinished(() => threads.close())
  return threads
}

export const headOf = (length: number, ...lines: string[]): string =>
  ['HTTP/1.1 200 OK', `Content-Length: ${length}`, ...lines, '', ''].join('\r\n')

type Answered = Awaited<ReturnType<BodyThreads['fetch']>>

interface Place {
  /** Where the body goes in the file, and which part of it: by default all of it to the start. */
  readonly position?: number
  readonly skipBytes?: number
  readonly wantedBytes?: number
  /** The end of what may be written. */
  readonly limit?: number
  readonly onWritten?: (bytes: number, writer: FileWriter) => void
}

export function bodyOf(answer: Answered): ThreadBody {
  if (!(answer?.body instanceof ThreadBody)) throw new Error('no body')
  return answer.body
}

/** Has a body written to a new file. Returns what is in the file then. */
export async function bytesOf(answer: Answered, place: Place = {}): Promise<Buffer> {
  const body = bodyOf(answer)
  const directory = await mkdtemp(path.join(tmpdir(), 'body-threads-'))
  const name = path.join(directory, 'data')
  const file = await open(name, 'w+')
  try {
    const wantedBytes = place.wantedBytes ?? Number(answer?.headers['content-length'])
    const position = place.position ?? 0
    const writer = new FileWriter(file.fd, { start: position, end: place.limit ?? position + wantedBytes })
    const { sink } = writer
    const target = { sink, position, skipBytes: place.skipBytes ?? 0, wantedBytes }
    for await (const bytes of body.writeTo(target)) place.onWritten?.(bytes, writer)
    return await readFile(name)
  } finally {
    await file.close()
    await rm(directory, { recursive: true })
  }
}

/** The code of the error that a body ends with. */
export async function codeOf(work: Promise<unknown>): Promise<unknown> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  return error instanceof Error && 'code' in error ? error.code : error
}
