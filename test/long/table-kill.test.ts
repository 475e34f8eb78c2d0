// A process that stores facts and small blobs without a pause, and is killed in the middle of it, again and again.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { createLayout } from '../../src/store/layout.ts'
import { chance } from '../support/seeded.ts'
import { open, sha256Key } from '../unit/store/scratch.ts'

const ROUNDS = 20

/** Stores facts and small blobs below its argument, and prints the number of each pair that is stored. */
const WRITER = `
  import { createHash } from 'node:crypto'
  const [disk, root, first] = process.argv.slice(2)
  const { openStore } = await import(disk)
  const observer = new Proxy({}, { get: () => () => undefined })
  const store = await openStore({
    root, maxBytes: undefined, minFreeBytes: 0, memoryBytes: 0, now: Date.now, observer,
  })
  let next = Number(first)
  const writer = async () => {
    for (;;) {
      const number = next
      next += 1
      await store.facts.write('files', 'fact ' + number, { number, text: 'x'.repeat(number % 500) })
      const bytes = Buffer.from(String(number).repeat(1 + (number % 4000)))
      const key = 'sha256:' + createHash('sha256').update(bytes).digest('hex')
      const partial = await store.beginPartial(key, bytes.length)
      await partial.reserve({ start: 0, end: bytes.length })
      await partial.write(0, [bytes])
      await partial.commit()
      await partial.release()
      process.stdout.write(number + '\\n')
    }
  }
  await Promise.all(Array.from({ length: 16 }, writer))
`

const built = new URL('../../dist/store/disk-store.js', import.meta.url).href

it(`a writer of facts and small blobs that is killed ${ROUNDS} times loses none that it was told to be stored`, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-table-kill-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const root = join(folder, 'cache')
  const script = join(folder, 'writer.mjs')
  await writeFile(script, WRITER)
  const dice = chance('killed writer')
  const stored = new Set<number>()
  for (let round = 0; round < ROUNDS; round += 1) {
    const args = [built, root, String(round * 1_000_000)]
    const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    let printed = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (printed += text))
    await Promise.race([once(child.stdout, 'data'), once(child, 'close')])
    // From here on the moment is what is tried: it must depend on nothing that happens.
    await delay(dice.below(200))
    child.kill('SIGKILL')
    await once(child, 'close')
    // The last line may be torn.
    for (const line of printed.split('\n').slice(0, -1)) stored.add(Number(line))
  }
  const store = await open(root, {
    memoryBytes: 0,
    onTableSetAside() {
      throw new Error('the table is damaged')
    },
  })
  onTestFinished(() => store.close())
  await store.scanned
  expect(stored.size).toBeGreaterThan(ROUNDS)
  for (const number of stored) {
    expect(await store.facts.read('files', `fact ${number}`)).toEqual({
      number,
      text: 'x'.repeat(number % 500),
    })
    const bytes = Buffer.from(String(number).repeat(1 + (number % 4000)))
    expect(await store.smallBlobs.read(sha256Key(bytes), bytes.length)).toEqual(bytes)
  }
  // Each has its row: the next start does not look for blobs in folders.
  expect(store.ledger.count).toBeGreaterThanOrEqual(stored.size)
  expect(await readdir(createLayout(root).blobs)).toEqual([])
})
