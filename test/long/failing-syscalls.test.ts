import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SMALL_BYTES } from '../../src/store/blobs/blob-file.ts'
import { bytesOf, lfs, World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { openFilesBelow } from '../support/fd.ts'
import { take } from '../support/fetcher.ts'
import { type Child, startChild } from '../support/process.ts'
import { checkStore, gitName, lfsName, type Model, modelOf } from '../support/store-check.ts'
import { type Injection, inject, whyNoStrace } from '../support/strace.ts'

const MIB = 1024 * 1024
const FILE = '/acme/open/resolve/main'
const PATHS = ['a.bin', 'b.bin', 'c.bin', 'small.json'] as const
type Path = (typeof PATHS)[number]
const noStrace = await whyNoStrace()

let hub: Hub
let cacheDir: string
let child: Child
let model: Model
let injection: Injection | undefined
let files: ReadonlyMap<string, Buffer>

beforeEach(async () => {
  const world = new World()
  const repo = world.model('acme/open')
  repo.commit({
    'a.bin': lfs({ sizeBytes: 4 * MIB + 3, seed: 31 }),
    'b.bin': lfs({ sizeBytes: MIB, seed: 32 }),
    'c.bin': lfs({ sizeBytes: 3 * MIB, seed: 33 }),
    'small.json': '{"small":true}',
  })
  files = new Map(PATHS.map((path) => [path, bytesOf(repo, 'main', path)]))
  model = modelOf(files.values())
  hub = await startHub({ world })
  cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-syscalls-'))
  child = await startChild({ hub, cacheDir })
})

afterEach(async () => {
  await injection?.end()
  injection = undefined
  await child.stop()
  await hub.close()
  await rm(cacheDir, { recursive: true, force: true })
})

const right = (path: Path) => files.get(path) ?? Buffer.alloc(0)
const nameOf = (path: Path) => (path.endsWith('.bin') ? lfsName : gitName)(right(path))
const get = (path: Path, range?: string) =>
  take(child.url, `${FILE}/${path}`, right(path), range === undefined ? {} : { range })

async function whatStoreSays(): Promise<boolean> {
  const answer = await fetch(`${child.url}/readyz`)
  expect(answer.status, 'not ready, though it serves').toBe(200)
  return ((await answer.json()) as { checks: { store: { ok: boolean } } }).checks.store.ok
}

/** Everything is served while the calls fail, and the mirror says that they do. */
async function servedAllTheSame(): Promise<void> {
  for (const path of PATHS) expect(await get(path), path).toBe('whole')
  expect(await get('c.bin', 'bytes=1000-900000')).toBe('whole')
  expect(await Promise.all([get('a.bin'), get('a.bin'), get('b.bin', 'bytes=-5')])).toEqual([
    'whole',
    'whole',
    'whole',
  ])
  expect(await whatStoreSays()).toBe(false)
}

async function storedAgain(paths: readonly Path[]): Promise<void> {
  expect(await injection?.end()).toBeGreaterThan(0)
  injection = undefined
  await eventually(
    async () => {
      for (const path of paths) expect(await get(path)).toBe('whole')
      const { blobs } = await checkStore(cacheDir, model)
      return paths.filter((path) => !blobs.has(nameOf(path)))
    },
    (missing) => missing.length === 0,
  )
}

describe.skipIf(noStrace !== undefined)('a system call that fails', () => {
  it('to sync leaves nothing that counts as written, and costs no reader a byte', async () => {
    injection = await inject(child.pid, 'fdatasync,fsync', 'EIO')
    await servedAllTheSame()
    const { blobs, partials } = await checkStore(cacheDir, model)
    expect([[...blobs], [...partials]]).toEqual([[], []])
    await storedAgain(PATHS)
  })

  it('to write for lack of space leaves nothing behind, and costs no reader a byte', async () => {
    injection = await inject(child.pid, 'pwrite64,pwritev', 'ENOSPC')
    await servedAllTheSame()
    const { blobs, partials } = await checkStore(cacheDir, model)
    expect([[...blobs], [...partials]]).toEqual([[], []])
    await storedAgain(PATHS)
  })

  it('to name a finished file costs no reader a byte', async () => {
    injection = await inject(child.pid, 'rename,renameat,renameat2', 'EIO')
    await servedAllTheSame()
    // A small file gets no name of its own.
    const isLarge = (name: string) => (model.get(name)?.length ?? 0) > SMALL_BYTES
    expect([...(await checkStore(cacheDir, model)).blobs].filter(isLarge)).toEqual([])
    await storedAgain(PATHS)
  })

  it('to open a stored file, for lack of descriptors, makes the mirror fetch it again and keep it', async () => {
    await storedBefore(['a.bin', 'b.bin'])
    const paths = (['a.bin', 'b.bin'] as const).map((path) => {
      const [algorithm = '', hex = ''] = nameOf(path).split('-')
      return join(cacheDir, 'blobs', algorithm, hex.slice(0, 2), hex)
    })
    // A file that was read a moment ago is still open, and needs no descriptor.
    await eventually(
      () => openFilesBelow(cacheDir, child.pid),
      (open) => !paths.some((path) => open.includes(path)),
    )
    injection = await inject(child.pid, 'openat', 'EMFILE', paths)
    for (const path of ['a.bin', 'b.bin', 'a.bin'] as const) expect(await get(path)).toBe('whole')
    expect(await get('a.bin', 'bytes=70000-2000000')).toBe('whole')
    expect(await whatStoreSays()).toBe(false)
    await storedAgain(['a.bin', 'b.bin'])
    hub.ledger.clear()
    for (const path of ['a.bin', 'b.bin'] as const) expect(await get(path)).toBe('whole')
    expect(hub.ledger.bodyRequests()).toEqual([])
  })

  it('to read a stored file costs no reader a byte', async () => {
    await storedBefore(['a.bin', 'b.bin'])
    injection = await inject(child.pid, 'pread64,preadv', 'EIO')
    for (const path of ['a.bin', 'b.bin'] as const) expect(await get(path), path).toBe('whole')
    await storedAgain(['a.bin', 'b.bin'])
  })
})

async function storedBefore(paths: readonly Path[]): Promise<void> {
  await eventually(
    async () => {
      for (const path of paths) expect(await get(path)).toBe('whole')
      return checkStore(cacheDir, model)
    },
    ({ blobs }) => paths.every((path) => blobs.has(nameOf(path))),
  )
}
