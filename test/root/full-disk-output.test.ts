// `bundle create` and `export` write to a disk that becomes full at different moments. They leave nothing that looks complete, say what
// to do, and complete when there is room.

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { expectFull, inRooms, openDisk } from '../support/full-disk.ts'
import { expectExported, expectVerified, openKilled } from '../support/killed.ts'
import { BIN, run } from '../support/run-cli.ts'
import { gitName, lfsName } from '../support/store-check.ts'
import { whyNoDisk } from '../support/tmpfs.ts'

const noDisk = await whyNoDisk()

it.skipIf(noDisk !== undefined).each([[[]], [['--split', '1MB']]] as const)(
  'bundle create %j leaves no file on a full disk, and completes when there is room',
  async (options) => {
    const disk = await openDisk()
    const { here, there, done, hereEnv } = await openKilled()
    const file = join(disk.directory, 'many.tar')
    const other = join(disk.directory, 'other')
    await writeFile(other, 'of someone else')
    const args = ['create', file, 'acme/many', ...options]
    await inRooms(`full disk, create ${options.join(' ')}`, {
      disk,
      begin: () => here(...args),
      async check(result) {
        if (result.status !== 0) {
          expectFull(result, `the bundle ${file} cannot be written`)
          expect(await readdir(disk.directory)).toEqual(['other'])
        }
        expect(await readFile(other, 'utf8')).toBe('of someone else')
      },
      async complete() {
        const first = options.length === 0 ? file : `${file}.001`
        if (!existsSync(first)) await done(here(...args))
        await done(there('verify', file))
      },
      async reset() {
        for (const name of await readdir(disk.directory))
          if (name !== 'other') await rm(join(disk.directory, name))
      },
    })
    await expectVerified(hereEnv)
  },
)

it.skipIf(noDisk !== undefined)(
  'bundle create on stdout, and what a command prints, end with 1 where the file of stdout is cut short',
  async () => {
    const disk = await openDisk()
    const { hereEnv } = await openKilled()
    await writeFile(join(disk.directory, 'other'), 'of someone else')
    const file = join(disk.directory, 'stdout')
    // The last page of the output has no room.
    for (const args of [
      ['bundle', 'create', '-', 'acme/many'],
      ['help', 'serve'],
      ['ls', '--json'],
    ]) {
      const shell = ['-c', 'exec "$@" > "$0"', file, process.execPath, BIN, ...args]
      const env = { PATH: process.env['PATH'], ...hereEnv }
      await promisify(execFile)('sh', shell, { env })
      const { length } = await readFile(file)
      await rm(file)
      await disk.leaveFree(length - 1 - ((length - 1) % 4096))
      const failed: unknown = await promisify(execFile)('sh', shell, { env }).catch((error: unknown) => error)
      expect(failed).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(
          /^hubmirror: (?:the bundle on )?stdout cannot be written: its disk is full \(ENOSPC\)\. Make room there, and run the command again\.\n$/,
        ),
      })
      await rm(file)
      await disk.leaveFree(16_000_000)
    }
  },
)

it.skipIf(noDisk !== undefined)(
  'export leaves no wrong file and no ref on a full disk, and completes when there is room',
  async () => {
    const disk = await openDisk()
    const { scene, done, hereEnv } = await openKilled()
    const hub = join(disk.directory, 'hub')
    await done(run(['export', 'acme/before', hub], hereEnv))
    const many = join(hub, 'models--acme--many')
    const args = ['export', 'acme/many', hub]
    await inRooms('full disk, export', {
      disk,
      begin: () => run(args, hereEnv),
      async check(result) {
        if (result.status !== 0) {
          const place = result.stderr.includes('many cannot') ? many : hub
          expectFull(result, `the directory ${place} cannot be written`)
          expect(existsSync(join(many, 'refs/main'))).toBe(false)
        }
        for (const name of await readdir(join(many, 'blobs')).catch(() => [])) {
          const bytes = await readFile(join(many, 'blobs', name))
          expect([lfsName(bytes), gitName(bytes)].map((one) => one.split('-')[1])).toContain(name)
        }
        expect(await readdir(join(many, '.hubmirror')).catch(() => [])).toEqual([])
        await expectExported(scene, hub, 'acme/before')
      },
      async complete() {
        await done(run(args, hereEnv))
        await expectExported(scene, hub, 'acme/many')
      },
      reset: () => rm(many, { recursive: true }),
    })
    await expectVerified(hereEnv)
  },
)

it.skipIf(noDisk !== undefined)(
  'bundle create and export name a disk that is read-only, a missing folder and a file in the place of one',
  async () => {
    const disk = await openDisk()
    const { here, hereEnv } = await openKilled()
    const at = (name: string): string => join(disk.directory, name)
    await mkdir(at('folder'))
    await writeFile(at('file'), '')
    const rows = [
      [
        'folder',
        true,
        /its disk is mounted read-only \(EROFS\)\. Mount it writable, or choose another place/,
      ],
      ['none', false, /there is no such file or folder \(ENOENT, .*\)\. Make the folder/],
      ['file', false, /a part of the path is no folder \(ENOTDIR, .*\)\. Choose another place/],
    ] as const
    for (const [folder, readOnly, reason] of rows) {
      if (readOnly) await disk.readOnly(true)
      const made = await here('create', at(`${folder}/many.tar`), 'acme/many')
      expect([made.status, made.stdout]).toEqual([1, ''])
      expect(made.stderr).toMatch(
        /^hubmirror: the bundle \S+ cannot be written: .*, and run the command again\.\n$/,
      )
      expect(made.stderr).toMatch(reason)
      if (folder !== 'none') {
        const { status, stderr } = await run(['export', 'acme/many', at(`${folder}/hub`)], hereEnv)
        expect([status, stderr]).toEqual([1, expect.stringMatching(reason)])
      }
      if (readOnly) await disk.readOnly(false)
    }
  },
)
