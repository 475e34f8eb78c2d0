// `bundle create` and `export` are killed in the middle. Nothing is left that looks complete and is not, and the same command completes.

import { existsSync } from 'node:fs'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { bytesBelow, expectExported, expectVerified, inRounds, openKilled } from '../../support/killed.ts'
import { run, start } from '../../support/run-cli.ts'
import { gitName, lfsName } from '../../support/store-check.ts'

it.each([[[]], [['--split', '1MB']]] as const)(
  'bundle create %j leaves no half bundle under its name, and completes when it is run again',
  async (options) => {
    const { at, folder, here, there, done, hereEnv } = await openKilled()
    await done(here('create', at('before.tar'), 'acme/before'))
    const before = await readFile(at('before.tar'))
    const first = at(options.length === 0 ? 'many.tar' : 'many.tar.001')
    const args = ['create', at('many.tar'), 'acme/many', ...options]
    await inRounds(`kill create ${options.join(' ')}`, {
      written: () => bytesBelow(folder, (name) => name.startsWith('many.tar')),
      begin: () => Promise.resolve(start(['bundle', ...args], hereEnv)),
      async check({ status }) {
        expect([0, null]).toContain(status)
        // With its first name a bundle is complete.
        if (existsSync(first)) await done(there('verify', at('many.tar')))
        else expect(status).toBeNull()
      },
      async complete() {
        if (!existsSync(first)) await done(here(...args))
        await done(there('verify', at('many.tar')))
        expect((await readFile(at('before.tar'))).equals(before)).toBe(true)
        const names = (await readdir(folder)).filter((name) => name.startsWith('many.tar'))
        expect(names.filter((name) => name.endsWith('.unfinished'))).toEqual([])
        for (const name of names) await rm(at(name))
      },
    })
    await expectVerified(hereEnv)
  },
)

it('export leaves no wrong file and no ref to half a commit, and completes when it is run again', async () => {
  const { scene, at, done, hereEnv } = await openKilled()
  await done(run(['export', 'acme/before', at('hub')], hereEnv))
  const many = at('hub/models--acme--many')
  const expectFiles = (id: string): Promise<void> => expectExported(scene, at('hub'), id)
  const args = ['export', 'acme/many', at('hub')]
  await inRounds('kill export', {
    written: () => bytesBelow(many),
    begin: () => Promise.resolve(start(args, hereEnv)),
    async check({ status }) {
      expect([0, null]).toContain(status)
      for (const name of await readdir(join(many, 'blobs')).catch(() => [])) {
        const bytes = await readFile(join(many, 'blobs', name))
        expect([lfsName(bytes), gitName(bytes)].map((one) => one.split('-')[1])).toContain(name)
      }
      if (existsSync(join(many, 'refs/main'))) await expectFiles('acme/many')
      await expectFiles('acme/before')
    },
    async complete() {
      await done(run(args, hereEnv))
      await expectFiles('acme/many')
      await rm(many, { recursive: true })
    },
  })
  await expectVerified(hereEnv)
})
