// Plays a job of turns: one request after the other, to several servers by turns. What else the machine does then hits all of
// them alike.

import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from './connection.ts'
import type { TurnsJob, TurnsResult } from './job.ts'
import { waits } from './load.ts'

const BUFFER_BYTES = 64 * 1024

/** Rejects at the first wrong answer. */
export async function turns(job: TurnsJob): Promise<TurnsResult> {
  const servers = job.servers.map((targets) => ({
    targets,
    connection: new Connection({ method: job.method, digest: 'crc32', bufferBytes: BUFFER_BYTES }),
    ms: [] as number[],
  }))
  try {
    const longest = Math.max(...servers.map(({ targets }) => targets.length))
    for (let index = 0; index < longest; index += 1) {
      for (const { targets, connection, ms } of servers) {
        const target = targets[index]
        if (target === undefined) continue
        ms.push((await connection.ask(target)).lastByteMs)
        await sleep(job.pauseMs)
      }
    }
  } finally {
    for (const { connection } of servers) connection.close()
  }
  return { lastByteMs: servers.map(({ ms }) => ({ ...waits(ms), longest: Math.max(...ms) })) }
}
