// A client as a process of its own. Each line of JSON on stdin is a job; a line of JSON on stdout is its result.

import { createInterface } from 'node:readline'
import type { Job, Said } from './job.ts'
import { load } from './load.ts'
import { pipeline } from './pipeline.ts'
import { readers } from './readers.ts'
import { openStrangers } from './strangers.ts'
import { turns } from './turns.ts'

const PLAYERS: { readonly [Kind in Job['job']]: (job: Extract<Job, { job: Kind }>) => Promise<unknown> } = {
  load,
  readers,
  pipeline,
  strangers: openStrangers,
  turns,
}

function play(job: Job): Promise<unknown> {
  return (PLAYERS[job.job] as (job: Job) => Promise<unknown>)(job)
}

for await (const line of createInterface({ input: process.stdin })) {
  const said: Said = await play(JSON.parse(line) as Job).then(
    (result) => ({ ok: true, result }),
    (error: unknown) => ({ ok: false, error: error instanceof Error ? error.message : String(error) }),
  )
  console.log(JSON.stringify(said))
}
