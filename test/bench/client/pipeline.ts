// Plays a pipeline job: all questions at once on one socket, which closes when the first answer has begun, or when the
// server has enough of it.

import net from 'node:net'
import type { PipelineJob, PipelineResult } from './job.ts'

/** Rejects when an answer begins, but not with a 200. */
export function pipeline(job: PipelineJob): Promise<PipelineResult> {
  const { hostname, port, host, pathname } = new URL(job.url)
  const question = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n\r\n`
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), hostname, () => socket.write(question.repeat(job.requests)))
    socket.once('data', (chunk: Buffer) => {
      const line = chunk.toString('latin1', 0, 30).split('\r\n', 1)[0] ?? ''
      socket.destroy()
      if (line.startsWith('HTTP/1.1 200 ')) resolve({ answered: true })
      else reject(new Error(line))
    })
    // A reset is an end like any other.
    socket.on('error', () => undefined)
    socket.once('close', () => resolve({ answered: false }))
  })
}
