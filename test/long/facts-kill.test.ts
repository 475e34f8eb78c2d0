// A process that writes facts without a pause, and is killed in the middle of it, again and again.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { openFacts } from '../../src/store/facts/facts.ts'
import { createLayout } from '../../src/store/layout.ts'
import { chance } from '../support/seeded.ts'

const ROUNDS = 50

/** Writes batches of facts to the store in its argument, and prints the number of each fact that is stored. */
const WRITER = `
  const [layout, facts, root, first] = process.argv.slice(2)
  const { createLayout } = await import(layout)
  const { openFacts } = await import(facts)
  const store = await openFacts(createLayout(root), { memoryBytes: 0 })
  let next = Number(first)
  const writer = async () => {
    for (;;) {
      const number = next
      next += 1
      await store.write('files', 'fact ' + number, { number, text: 'x'.repeat(number % 500) })
      process.stdout.write(number + '\\n')
    }
  }
  await Promise.all(Array.from({ length: 16 }, writer))
`

const built = (file: string) => new URL(`../../dist/store/${file}.js`, import.meta.url).href

it(`a writer of facts that is killed ${ROUNDS} times loses none that it was told to be stored`, async () => {
  const root = await mkdtemp(join(tmpdir(), 'hubmirror-facts-kill-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const layout = createLayout(root)
  await mkdir(layout.facts, { recursive: true })
  const script = join(root, 'writer.mjs')
  await writeFile(script, WRITER)
  const dice = chance('killed writer of facts')
  const stored = new Set<number>()
  for (let round = 0; round < ROUNDS; round += 1) {
    const args = [built('layout'), built('facts/facts'), root, String(round * 1_000_000)]
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
  const facts = await openFacts(layout, {
    memoryBytes: 0,
    onSetAside() {
      throw new Error('the facts are damaged')
    },
  })
  onTestFinished(() => facts.close())
  expect(stored.size).toBeGreaterThan(ROUNDS)
  for (const number of stored)
    expect(await facts.read('files', `fact ${number}`)).toEqual({ number, text: 'x'.repeat(number % 500) })
})
