// The thread that owns the table of facts (fact-thread.ts is the other end). It answers one request after another.

import { parentPort, workerData } from 'node:worker_threads'
import { type FactTable, openTable } from './fact-table.ts'
import type { FactReply, FactRequest } from './fact-thread.ts'

const { directory, readOnly } = workerData as { readonly directory: string; readonly readOnly: boolean }
let table: Promise<FactTable | undefined> | undefined

parentPort?.on('message', (request: FactRequest) => {
  const { number } = request
  answer(request).then(
    (rest) => reply({ number, ...rest }),
    (error: Error & { readonly code?: string }) => {
      const { name, message, code } = error
      reply({ number, error: { name, message, code } })
    },
  )
})

/** Never resolves for `close`: the end of the thread is the answer. */
async function answer(request: FactRequest): Promise<Omit<FactReply, 'number'>> {
  if (request.act === 'close') {
    const open = await table?.catch(() => undefined)
    await open?.close()
    process.exit()
  }
  table ??= openTable(directory, { readOnly })
  const facts = await table
  if (request.act === 'read') return { found: facts?.get(request.name) }
  if (request.act === 'change') facts?.change(request.changes, request.limitBytes)
  return { sizeBytes: facts?.sizeBytes ?? 0 }
}

function reply(message: FactReply): void {
  const bytes = message.found?.bytes
  // Memory of its own is handed over. Smaller buffers share theirs, and are copied.
  const isAlone = bytes !== undefined && bytes.byteLength === bytes.buffer.byteLength
  parentPort?.postMessage(message, isAlone ? [bytes.buffer as ArrayBuffer] : [])
}
