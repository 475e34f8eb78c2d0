// What the commands of the store do with many facts, and after an interruption. The rest is in
// test/integration/store-commands.test.ts.

import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import type { BlobKey } from '../../../src/store/digest.ts'
import { eventually } from '../../support/eventually.ts'
import { run, start } from '../../support/run-cli.ts'
import { makeStore, repoOf, sha256Key } from '../../unit/store/made-store.ts'

it('ls needs little memory for 20,000 facts', async () => {
  const many = await makeStore()
  onTestFinished(() => many.remove())
  for (let number = 0; number < 20_000; number += 200) {
    const batch = Array.from({ length: 200 }, (_, index) => number + index)
    await Promise.all(
      batch.map(async (index) => {
        const bytes = Buffer.from(`blob ${index % 2000}`)
        const repo = repoOf(`org/repo-${index % 100}`)
        // Long paths would fill a process that kept facts in memory.
        const filePath = `${'folder/'.repeat(100)}${index}.bin`
        if (index < 2000) await many.fileBlob(bytes)
        await many.file(repo, filePath, sha256Key(bytes), bytes.length)
      }),
    )
  }
  // The compiler in the process takes most of it. A process that kept all facts in memory would end with 134.
  const { status, stdout, stderr } = await run(['ls', '--json', '--cache-dir', many.root], {}, [
    '--max-old-space-size=36',
  ])
  expect([status, stderr]).toEqual([0, ''])
  expect(JSON.parse(stdout)).toMatchObject({ totals: { repos: 100, blobs: 2000 }, damagedFacts: 0 })
  const { repos } = JSON.parse(stdout) as { repos: { files: number; blobs: number }[] }
  expect(repos.every((repo) => repo.files === 200 && repo.blobs === 20)).toBe(true)
})

it('verify continues behind an interruption, and removes its position when it is done', async () => {
  const made = await makeStore()
  onTestFinished(() => made.remove())
  const where = ['--cache-dir', made.root]
  const keys: BlobKey[] = []
  for (let number = 0; number < 30; number += 1) keys.push(await made.blob(Buffer.alloc(500_000, number)))
  keys.sort()
  // One of the first: the interrupted run finds it, and the run that ends reports it.
  await made.flipBit(keys[0]!)
  const position = path.join(made.root, 'verify.json')
  // Thirty seconds for all of it without an interruption.
  const { child, done } = start(['verify', '--rate', '500KB', ...where])
  await eventually(
    () => readFile(position, 'utf8').catch(() => ''),
    (text) => text !== '',
    20_000,
  )
  child.kill('SIGINT')
  const interrupted = await done
  expect(interrupted.status).toBe(130)
  expect(interrupted.stdout).toMatch(
    /^interrupted after \d+ blobs?, .*1 damaged; the next run continues here\n$/,
  )
  const { after, blobs } = JSON.parse(await readFile(position, 'utf8')) as { after: BlobKey; blobs: number }
  expect(after).toBe(keys[blobs - 1])
  expect(blobs).toBeLessThan(30)
  // Damage before the position is not searched again; damage after it is found.
  if (blobs > 1) await made.flipBit(after)
  await made.flipBit(keys[29]!)
  const next = await run(['verify', '--json', ...where])
  expect(next.status).toBe(1)
  expect(JSON.parse(next.stdout)).toMatchObject({
    resumed: true,
    blobs: 30,
    damaged: 2,
    found: [{ key: keys[29], reason: 'digest', place: 'quarantined' }],
  })
  expect(await readdir(made.root)).not.toContain('verify.json')
})
