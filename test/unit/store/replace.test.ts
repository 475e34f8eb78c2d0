// The mirror can read a file that a command replaces beside it, or the command fails and changes nothing.

import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { followLinks, mirrorUser, replaceFile } from '../../../src/store/replace.ts'

const MIRROR = { uid: 64_321, gid: 64_321 }
const OTHER = { uid: 64_322, gid: 64_322 }
const isRoot = process.getuid?.() === 0
const rootOnly = isRoot ? '' : ' (skipped: only root gives files to others)'

async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-replace-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Runs the work with the permissions of another user. */
async function as<T>({ uid, gid }: typeof MIRROR, work: () => Promise<T>): Promise<T> {
  process.setegid?.(gid)
  process.seteuid?.(uid)
  try {
    return await work()
  } finally {
    process.seteuid?.(0)
    process.setegid?.(0)
  }
}

async function ownerOf(file: string) {
  const { uid, gid, mode } = await stat(file)
  return { uid, gid, mode: mode & 0o777 }
}

describe('a file that is replaced', () => {
  it.each([0o600, 0o640, 0o664])('keeps its mode %o, and no other file is left', async (mode) => {
    const folder = await scratch()
    const file = join(folder, 'list')
    await writeFile(file, 'old')
    await chmod(file, mode)
    await replaceFile(file, 'new', undefined)
    expect([await readFile(file, 'utf8'), (await ownerOf(file)).mode]).toEqual(['new', mode])
    expect(await readdir(folder)).toEqual(['list'])
  })

  it('is found through its links, which stay', async () => {
    const folder = await scratch()
    await mkdir(join(folder, 'real'))
    await writeFile(join(folder, 'real', 'list'), 'old')
    await symlink('real/list', join(folder, 'near'))
    await symlink(join(folder, 'near'), join(folder, 'far'))
    await symlink('real/none', join(folder, 'to-nothing'))
    const file = await followLinks(join(folder, 'far'))
    await replaceFile(file, 'new', undefined)
    expect((await lstat(join(folder, 'far'))).isSymbolicLink()).toBe(true)
    expect(await readFile(join(folder, 'far'), 'utf8')).toBe('new')
    await replaceFile(await followLinks(join(folder, 'to-nothing')), 'made', undefined)
    expect(await readdir(join(folder, 'real'))).toEqual(['list', 'none'])
    await symlink('circle', join(folder, 'circle'))
    await expect(followLinks(join(folder, 'circle'))).rejects.toThrow('symbolic links form a loop')
  })

  it('is refused when it has another hard link, which would keep the old content', async () => {
    const folder = await scratch()
    const file = join(folder, 'list')
    await writeFile(file, 'old')
    await link(file, join(folder, 'same'))
    await expect(replaceFile(file, 'new', undefined)).rejects.toThrow('2 names (hard links)')
    expect(await readFile(file, 'utf8')).toBe('old')
  })

  it.skipIf(!isRoot)(`by root keeps its owner${rootOnly}`, async () => {
    const file = join(await scratch(), 'list')
    await writeFile(file, 'old', { mode: 0o600 })
    await chown(file, MIRROR.uid, OTHER.gid)
    await replaceFile(file, 'new', MIRROR)
    expect(await ownerOf(file)).toEqual({ uid: MIRROR.uid, gid: OTHER.gid, mode: 0o600 })
  })

  it.skipIf(!isRoot)(`by root belongs to the mirror when it is new${rootOnly}`, async () => {
    const file = join(await scratch(), 'list')
    await replaceFile(file, 'new', MIRROR)
    expect(await ownerOf(file)).toEqual({ ...MIRROR, mode: 0o600 })
  })

  it.skipIf(!isRoot)(`is refused when the mirror could not read it, and stays${rootOnly}`, async () => {
    const folder = await scratch()
    const file = join(folder, 'list')
    await writeFile(file, 'old', { mode: 0o600 })
    await expect(replaceFile(file, 'new', MIRROR)).rejects.toThrow(
      `the mirror runs as user ${MIRROR.uid} and could not read it`,
    )
    await chmod(file, 0o640)
    await replaceFile(file, 'new', MIRROR)
    await chmod(folder, 0o777)
    await expect(as(OTHER, () => replaceFile(join(folder, 'made'), 'x', MIRROR))).rejects.toThrow(
      `Run this command as user ${MIRROR.uid} or as root`,
    )
    expect(await readdir(folder)).toEqual(['list'])
  })

  it.skipIf(!isRoot)(`is refused to a user who may not give it back to its owner${rootOnly}`, async () => {
    const folder = await scratch()
    const file = join(folder, 'list')
    await chmod(folder, 0o777)
    await writeFile(file, 'old', { mode: 0o644 })
    await chown(file, MIRROR.uid, MIRROR.gid)
    await expect(as(OTHER, () => replaceFile(file, 'new', MIRROR))).rejects.toThrow(
      `it belongs to user ${MIRROR.uid}`,
    )
    expect([await readFile(file, 'utf8'), await readdir(folder)]).toEqual(['old', ['list']])
    await as(MIRROR, () => replaceFile(file, 'new', MIRROR))
    expect(await ownerOf(file)).toEqual({ ...MIRROR, mode: 0o644 })
  })
})

describe('the user of a mirror', () => {
  it('is unknown when there is no cache directory', async () => {
    expect(await mirrorUser(join(await scratch(), 'none'))).toBeUndefined()
  })

  it.skipIf(!isRoot)(
    `is the user who made the store, or else the owner of the directory${rootOnly}`,
    async () => {
      const folder = await scratch()
      await chown(folder, OTHER.uid, OTHER.gid)
      expect(await mirrorUser(folder)).toEqual(OTHER)
      await writeFile(join(folder, 'FORMAT'), 'hubmirror 1\n')
      await chown(join(folder, 'FORMAT'), MIRROR.uid, MIRROR.gid)
      expect(await mirrorUser(folder)).toEqual(MIRROR)
    },
  )
})
