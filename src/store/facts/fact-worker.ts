// The thread that owns the tables of facts (fact-thread.ts is the other end). For each table it answers one request after another.

import { parentPort } from 'node:worker_threads'
import { type FactTable, openTable } from './fact-table.ts'
import type { FactReply, FactRequest } from './fact-thread.ts'

/** Tables that are open, or being opened. */
const tables = new Map<number, Promise<FactTable | undefined>>()
/** By table: the last request. Closing takes a while, and the next request must wait for it. */
const turns = new Map<number, Promise<void>>()

parentPort?.on('message', (request: FactRequest) => {
  const { table, number } = request
  const done = (turns.get(table) ?? Promise.resolve()).then(() =>
    answer(request).then(
      (rest) => reply({ number, ...rest }),
      (error: Error & { readonly code?: string }) => {
        const { name, message, code } = error
        reply({ number, error: { name, message, code } })
      },
    ),
  )
  turns.set(table, done)
  void done.then(() => {
    if (turns.get(table) === done) turns.delete(table)
  })
})

async function answer(request: FactRequest): Promise<Omit<FactReply, 'number'>> {
  const { act, table, directory, readOnly } = request
  if (act === 'close') {
    const open = await tables.get(table)?.catch(() => undefined)
    tables.delete(table)
    await open?.close()
    return {}
  }
  const opening = tables.get(table) ?? openTable(directory, { readOnly })
  tables.set(table, opening)
  const facts = await opening
  if (act === 'read') return { found: facts?.get(request.name) }
  if (act === 'change') facts?.change(request.changes, request.limitBytes)
  return { sizeBytes: facts?.sizeBytes ?? 0 }
}

function reply(message: FactReply): void {
  const bytes = message.found?.bytes
  // Memory of its own is handed over. Smaller buffers share theirs, and are copied.
  const isAlone = bytes !== undefined && bytes.byteLength === bytes.buffer.byteLength
  parentPort?.postMessage(message, isAlone ? [bytes.buffer as ArrayBuffer] : [])
}
