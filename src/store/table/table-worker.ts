// The thread that owns the tables (table-thread.ts is the other end). For each table it answers one request after another.

import { parentPort } from 'node:worker_threads'
import { openTable, type Table } from './table.ts'
import { TablePanic } from './table-errors.ts'
import type { TableReply, TableRequest } from './table-thread.ts'

/** Tables that are open, or being opened. */
const tables = new Map<number, Promise<Table | undefined>>()
/** By table: the last request. Closing takes a while, and the next request must wait for it. */
const turns = new Map<number, Promise<void>>()

parentPort?.on('message', (request: TableRequest) => {
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

async function answer(request: TableRequest): Promise<Omit<TableReply, 'number'>> {
  if (request.act === 'close') {
    await close(request.table)
    return {}
  }
  try {
    return await use(request)
  } catch (error) {
    if (!(error instanceof TablePanic)) throw error
    await close(request.table)
    return use(request)
  }
}

async function close(table: number): Promise<void> {
  const open = await tables.get(table)?.catch(() => undefined)
  tables.delete(table)
  await open?.close()
}

async function use(request: Exclude<TableRequest, { act: 'close' }>): Promise<Omit<TableReply, 'number'>> {
  const { act, table, directory, readOnly } = request
  const opening = tables.get(table) ?? openTable(directory, { readOnly })
  tables.set(table, opening)
  const rows = await opening.catch((error: unknown) => {
    // The next request tries again.
    tables.delete(table)
    throw error
  })
  if (act === 'read-fact') return rows?.fact(request.name) ?? {}
  if (act === 'read-blob') return { bytes: rows?.blobBytes(request.key) }
  if (act === 'list-blobs') return { bytes: rows?.pageOfBlobs(request.after, request.limit) }
  if (act === 'list-facts')
    return { bytes: rows?.pageOfFacts(request.kind, request.after, request.limit, request.keyStart) }
  if (act === 'open') return { usage: rows?.usage, factBytes: rows?.factBytes ?? 0 }
  if (act === 'is-complete') return { isComplete: rows?.isComplete }
  if (act === 'change') rows?.change(request.changes, request.factLimitBytes)
  return { factBytes: rows?.factBytes ?? 0 }
}

function reply(message: TableReply): void {
  const { bytes } = message
  // Memory of its own is handed over. Smaller buffers share theirs, and are copied.
  const isAlone = bytes !== undefined && bytes.byteLength === bytes.buffer.byteLength
  parentPort?.postMessage(message, isAlone ? [bytes.buffer as ArrayBuffer] : [])
}
