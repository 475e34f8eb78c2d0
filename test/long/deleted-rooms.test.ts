// The fast path and the workers are rooms that can be deleted: what else goes with them are lines that are marked. This
// test deletes both, builds what is left with the compiler of the project, and serves from it.

import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it, onTestFinished } from 'vitest'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { ask } from '../support/ask.ts'
import { startChild } from '../support/process.ts'
import { ROOT } from '../support/run-cli.ts'

/** What stands at the end of a line that goes with a room. */
const MARK = /\/\/ (?:fast path|workers)$/

/** A copy of the source without both rooms; `marked` counts the lines that went with them, by file. */
async function withoutRooms() {
  const root = await mkdtemp(join(tmpdir(), 'hubmirror-rooms-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  for (const name of ['src', 'package.json', 'tsconfig.json'])
    await cp(join(ROOT, name), join(root, name), { recursive: true })
  await symlink(join(ROOT, 'node_modules'), join(root, 'node_modules'))
  for (const room of ['fast-path', 'workers']) await rm(join(root, 'src', room), { recursive: true })
  const marked: Record<string, number> = {}
  for (const entry of await readdir(join(root, 'src'), { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile()) continue
    const lines = (await readFile(path, 'utf8')).split('\n')
    const kept = lines.filter((line) => !MARK.test(line))
    if (kept.length === lines.length) continue
    marked[path.slice(join(root, 'src').length + 1)] = lines.length - kept.length
    await writeFile(path, kept.join('\n'))
  }
  return { root, marked }
}

it('the mirror builds and serves without the fast path and the workers', async () => {
  const { root, marked } = await withoutRooms()
  expect(marked).toEqual({ 'app.ts': 8, 'commands/serve.ts': 2 })
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  // Its complaints, if any, go to stdout.
  const built = await promisify(execFile)(process.execPath, [compiler, '-p', root]).catch(
    (error: unknown) => error,
  )
  expect(built).toEqual({ stdout: '', stderr: '' })

  const world = new World()
  const files = { 'small.json': '{"small":true}', 'large.bin': lfs({ sizeBytes: 300_000, seed: 1 }) }
  world.model('acme/open').commit(files)
  const hub = await startHub({ world })
  onTestFinished(() => hub.stop())
  const entry = join(root, 'dist/launch.cjs')
  // Workers are asked for, and there are none.
  const env = { HUBMIRROR_WORKERS: '2' }
  const child = await startChild({ hub, cacheDir: join(root, 'cache'), entry, env })
  onTestFinished(() => child.stop())
  for (const path of Object.keys(files)) {
    const seen: unknown[] = []
    for (let round = 0; round < 4; round += 1) {
      const got = await ask(child.url, `/acme/open/resolve/main/${path}`)
      seen.push([got.status, got.body.equals(bytesOf(world.model('acme/open'), 'main', path))])
    }
    expect(seen).toEqual(Array.from({ length: 4 }, () => [200, true]))
  }
  expect(hub.ledger.requests({ server: 'cdn' }).length).toBeLessThanOrEqual(2)
  child.kill('SIGTERM')
  expect(await child.ended).toBe(0)
})
