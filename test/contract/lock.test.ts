// Only one mirror can use a directory, with or without locks of the kernel, across processes, and however they end.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createLayout, type Layout } from '../../src/store/layout.ts'
import {
  DirectoryInUse,
  type KernelLock,
  LocksUnsupported,
  loadKernelLock,
  lockDirectory,
} from '../../src/store/lock.ts'
import { eventually } from '../support/eventually.ts'

const links = vi.hoisted(() => ({ code: undefined as string | undefined }))

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  const link: typeof real.link = (...args) =>
    links.code === undefined
      ? real.link(...args)
      : Promise.reject(Object.assign(new Error(links.code), { code: links.code }))
  return { ...real, link, default: { ...real, link } }
})

const HOLDER = fileURLToPath(new URL('./hold-lock.mjs', import.meta.url))
const kernelLock = await loadKernelLock()

async function scratch(): Promise<Layout> {
  const root = await mkdtemp(path.join(tmpdir(), 'hubmirror-lock-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const layout = createLayout(root)
  await mkdir(layout.tmp)
  return layout
}

interface Holder {
  readonly child: ChildProcess
  readonly said: string
  readonly ended: Promise<unknown>
}

/** Starts a process that tries to lock the directory. Resolves with the first line that it prints. */
async function hold(layout: Layout, how: string): Promise<Holder> {
  const child = spawn(process.execPath, [HOLDER, layout.root, how], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const [said] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  return { child, said, ended }
}

describe.each(['kernel', 'name'])('a directory locked by %s', (how) => {
  const lock = (layout: Layout): Promise<() => Promise<void>> =>
    lockDirectory(layout, how === 'kernel' ? kernelLock : undefined)

  it('is refused to another process with the pid of its owner, and free when the owner releases it', async () => {
    const layout = await scratch()
    const { child, said, ended } = await hold(layout, how)
    expect(said).toBe('held')
    await expect(lock(layout)).rejects.toThrow(`process ${child.pid}`)
    await expect(lock(layout)).rejects.toThrow(DirectoryInUse)
    child.stdin?.end()
    await ended
    await (await lock(layout))()
  })

  it('is free when its owner was killed', async () => {
    const layout = await scratch()
    const { child, ended } = await hold(layout, how)
    child.kill('SIGKILL')
    await ended
    await (await lock(layout))()
  })

  it.runIf(process.platform === 'linux')(
    'is free when its owner was killed, even if the parent has not waited for it',
    async () => {
      const layout = await scratch()
      // A shell that becomes another program, which never waits for the child that the shell started.
      const script = `'${process.execPath}' '${HOLDER}' '${layout.root}' ${how} <&3 & exec sleep 600`
      const parent = spawn('/bin/sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit', 'pipe'] })
      const ended = once(parent, 'exit')
      onTestFinished(async () => {
        parent.kill('SIGKILL')
        await ended
      })
      const lines = createInterface({ input: parent.stdout as Readable })
      expect(await once(lines, 'line')).toEqual(['held'])
      const { pid } = JSON.parse(await readFile(layout.lock, 'utf8')) as { readonly pid: number }
      process.kill(pid, 'SIGKILL')
      await eventually(
        () => readFile(`/proc/${pid}/stat`, 'utf8'),
        (stat) => stat.includes(') Z '),
      )
      // Its other threads may hold the file a moment longer.
      const unlock = await eventually(
        () => lock(layout).catch(() => undefined),
        (taken) => taken !== undefined,
      )
      await unlock?.()
    },
  )

  it('is refused to a process while this one has it', async () => {
    const layout = await scratch()
    const unlock = await lock(layout)
    expect((await hold(layout, how)).said).toBe('in use')
    await unlock()
    expect((await hold(layout, how)).said).toBe('held')
  })

  it('is refused to the same process', async () => {
    const layout = await scratch()
    const unlock = await lock(layout)
    await expect(lock(layout)).rejects.toThrow(DirectoryInUse)
    await unlock()
    await (await lock(layout))()
  })

  it('belongs to one of many processes that start at once, even if a dead owner left its name', async () => {
    for (const left of [
      undefined,
      '',
      'no JSON',
      JSON.stringify({ pid: 1, bootId: 'before', startedTicks: '1' }),
    ]) {
      const layout = await scratch()
      if (left !== undefined) await writeFile(layout.lock, left)
      const tries = await Promise.allSettled(Array.from({ length: 12 }, () => lock(layout)))
      const won = tries.filter((attempt) => attempt.status === 'fulfilled')
      expect(won).toHaveLength(1)
      for (const attempt of tries) {
        if (attempt.status === 'rejected') expect(attempt.reason).toBeInstanceOf(DirectoryInUse)
      }
      await won[0]?.value()
      expect((await readdir(layout.root)).filter((name) => name.startsWith('LOCK.'))).toEqual([])
    }
  })

  it('is not taken through a link', async () => {
    const layout = await scratch()
    const outside = path.join(layout.root, 'outside')
    await writeFile(outside, 'mine')
    await symlink(outside, layout.lock)
    await lock(layout).then(
      (unlock) => unlock(),
      () => undefined,
    )
    expect(await readFile(outside, 'utf8')).toBe('mine')
  })
})

describe('a mirror without the addon', () => {
  it.each([
    ['of a boot before', { bootId: 'another' }],
    ['whose pid another process has now', { startedTicks: '1' }],
    ['that is no process', { pid: 2 ** 22 + 1 }],
  ])('takes over from an owner %s', async (_, change) => {
    const layout = await scratch()
    const unlock = await lockDirectory(layout, undefined)
    const owner = JSON.parse(await readFile(layout.lock, 'utf8')) as Record<string, unknown>
    await unlock()
    await writeFile(layout.lock, JSON.stringify({ ...owner, ...change }))
    await (await lockDirectory(layout, undefined))()
  })

  it('notices another mirror that has the directory, and is noticed by it', async () => {
    const layout = await scratch()
    for (const [first, second] of [
      ['kernel', undefined],
      ['name', kernelLock],
    ] as const) {
      const { child, said, ended } = await hold(layout, first)
      expect(said).toBe('held')
      await expect(lockDirectory(layout, second)).rejects.toThrow(DirectoryInUse)
      child.stdin?.end()
      await ended
    }
  })

  it('does not release a lock that is no longer its own', async () => {
    const layout = await scratch()
    const unlock = await lockDirectory(layout, undefined)
    await writeFile(layout.lock, 'somebody else')
    await unlock()
    expect(await readFile(layout.lock, 'utf8')).toBe('somebody else')
  })
})

describe('on a volume without kernel locks', () => {
  const without = (code: string): KernelLock => ({
    tryLock() {
      throw Object.assign(new Error('the volume says no'), { code })
    },
  })

  // NFS without its lock service reports ENOLCK, for which the addon has a number and no name.
  it.each(['Unknown system error -37', 'ENOTSUP', 'ENOSYS', 'EINVAL'])(
    'that reports %s, the lock file alone guards the directory, and this is reported once',
    async (code) => {
      const layout = await scratch()
      const told: unknown[] = []
      const unlock = await lockDirectory(layout, without(code), (error) => told.push(error))
      expect(told).toEqual([expect.objectContaining({ code })])
      await expect(lockDirectory(layout, without(code))).rejects.toThrow(DirectoryInUse)
      expect((await hold(layout, 'name')).said).toBe('in use')
      await unlock()
      await (await lockDirectory(layout, without(code)))()
    },
  )

  it('another failure of the lock does not count as missing locks', async () => {
    const layout = await scratch()
    await expect(lockDirectory(layout, without('EIO'))).rejects.toThrow('the volume says no')
  })

  it.each(['EPERM', 'EOPNOTSUPP'])(
    'and without hard links (%s), the error names locks and a remedy',
    async (code) => {
      const layout = await scratch()
      links.code = code
      onTestFinished(() => {
        links.code = undefined
      })
      const locking = lockDirectory(layout, without('ENOTSUP'))
      await expect(locking).rejects.toThrow(LocksUnsupported)
      await expect(locking).rejects.toThrow('Use a volume with file locks')
    },
  )
})
