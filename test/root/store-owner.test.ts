// `prune` and `verify` that root runs on the store of a mirror with a user of its own: what they write must belong to that user.

import { execFile } from 'node:child_process'
import { chown, lstat, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { openKilled } from '../support/killed.ts'
import { run } from '../support/run-cli.ts'
import { type MadeStore, makeStore, openAt, repoOf } from '../unit/store/made-store.ts'

/** An id that no user of the machine has. */
const MIRROR_USER = 64_321
const isRoot = process.getuid?.() === 0

let made: MadeStore
let auditFolder: string

beforeEach(async () => {
  made = await makeStore()
  auditFolder = await mkdtemp(path.join(tmpdir(), 'hubmirror-audit-'))
  await chown(auditFolder, MIRROR_USER, MIRROR_USER)
})

afterEach(async () => {
  await made.remove()
  await rm(auditFolder, { recursive: true, force: true })
})

const giveToMirror = () => promisify(execFile)('chown', ['-R', `${MIRROR_USER}:${MIRROR_USER}`, made.root])
const onStore = (command: string, ...args: string[]) =>
  run([command, ...args, '--cache-dir', made.root, '--audit-log', path.join(auditFolder, 'audit.log')])

/** The paths, below the store and beside the audit log, that do not belong to the user of the mirror. */
async function foreign(folders = [made.root, auditFolder]): Promise<string[]> {
  const found: string[] = []
  for (const folder of folders) {
    for (const name of ['.', ...(await readdir(folder, { recursive: true }))]) {
      const { uid, gid } = await lstat(path.join(folder, name))
      if (uid !== MIRROR_USER || gid !== MIRROR_USER) found.push(path.join(folder, name))
    }
  }
  return found
}

describe.skipIf(!isRoot)('a command of root on the store of another user', () => {
  it('prunes, and leaves every file to the user of the mirror', async () => {
    await made.stored(repoOf('org/large'), 'model.bin', Buffer.alloc(1_000_000))
    await made.stored(repoOf('org/kept'), 'a', Buffer.alloc(10, 1))
    await giveToMirror()
    const pruned = await onStore('prune', 'org/large')
    expect([pruned.status, pruned.stderr]).toEqual([0, ''])
    expect(await foreign()).toEqual([])
    // The audit log names who ran the command, not whom it acts as.
    const [line = ''] = (await readFile(path.join(auditFolder, 'audit.log'), 'utf8')).split('\n')
    expect(JSON.parse(line)).toMatchObject({ act: 'prune', by: { kind: 'os-user', uid: 0 } })
  })

  it('verifies, and moves a damaged file to a quarantine that belongs to the user of the mirror', async () => {
    const key = await made.stored(repoOf('org/a'), 'a.bin', Buffer.alloc(2_000_000, 1))
    await made.flipBit(key, 1_999_999)
    await giveToMirror()
    const verified = await onStore('verify')
    expect([verified.status, verified.stdout]).toEqual([1, 'verified 1 blob, 2 MB; 1 damaged\n'])
    expect(await made.quarantined()).toEqual([key.replace(':', '-')])
    expect(await foreign()).toEqual([])
  })

  it('prunes while a mirror holds the store', async () => {
    await made.stored(repoOf('org/large'), 'model.bin', Buffer.alloc(1_000_000))
    const mirror = await openAt(made.root)
    try {
      await giveToMirror()
      const pruned = await onStore('prune', 'org/large')
      expect([pruned.status, pruned.stderr]).toEqual([0, ''])
      expect(await foreign()).toEqual([])
    } finally {
      await mirror.close()
    }
  })

  it('loads a bundle whose parts only root may read', async () => {
    const store = await mkdtemp(path.join(tmpdir(), 'hubmirror-store-'))
    onTestFinished(() => rm(store, { recursive: true, force: true }))
    await chown(store, MIRROR_USER, MIRROR_USER)
    const sides = await openKilled({ store })
    const { at, here, there, done } = sides
    await done(here('create', at('before.tar'), 'acme/before', '--split', '1MB'))
    await done(here('create', at('many.tar'), 'acme/many', '--split', '1MB'))
    expect((await lstat(at('many.tar.002'))).mode & 0o777).toBe(0o600)
    for (const name of ['before.tar', 'many.tar.001']) {
      const { status, stderr } = await there('load', at(name))
      expect([status, stderr]).toEqual([0, ''])
    }
    expect(await foreign([store])).toEqual([])
    await sides.expectStore(true)
  })

  it('changes nothing where it cannot write as that user, and says so', async () => {
    await made.stored(repoOf('org/large'), 'model.bin', Buffer.alloc(1_000_000))
    await giveToMirror()
    // Only root may enter it.
    const closed = path.join(auditFolder, 'closed')
    await mkdir(closed, { mode: 0o700 })
    const { status, stdout, stderr } = await run([
      'prune',
      'org/large',
      '--cache-dir',
      made.root,
      '--audit-log',
      path.join(closed, 'audit.log'),
    ])
    expect([status, stdout]).toEqual([1, ''])
    expect(stderr).toContain('cannot write the audit log')
    await rm(closed, { recursive: true })
    expect(await foreign()).toEqual([])
  })
})
