// More of `hubmirror token`: lists that cannot be read or written, an audit log that is full, and a link to the list.

import { lstat, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { mirrorTokensPath } from '../../../src/callers/token-file.ts'
import { openScene } from '../../support/scene.ts'
import { scratch, token } from '../../support/token-commands.ts'

const OPEN = '/acme/open/resolve/main/config.json'

it('the command exits 1 for an unknown name, and for a list that it cannot read, which stays unchanged', async () => {
  const env = { HUBMIRROR_CACHE_DIR: await scratch() }
  const unknown = await token(['revoke', 'ci'], env)
  expect([unknown.status, unknown.stderr]).toEqual([1, expect.stringContaining('there is no token named ci')])
  const path = mirrorTokensPath({ cacheDir: env.HUBMIRROR_CACHE_DIR })
  await writeFile(path, '{"version":2}', { mode: 0o600 })
  for (const args of [['create', 'ci'], ['ls'], ['revoke', 'ci']]) {
    const { status, stderr } = await token(args, env)
    expect([status, stderr]).toEqual([1, expect.stringContaining('it is not a list of tokens')])
  }
  expect(await readFile(path, 'utf8')).toBe('{"version":2}')
})

it('the command does nothing that it cannot record in the audit log', async () => {
  const env = { HUBMIRROR_CACHE_DIR: await scratch() }
  await token(['create', 'ci'], env)
  const full = { ...env, HUBMIRROR_AUDIT_LOG: '/dev/full' }
  for (const args of [
    ['create', 'other'],
    ['revoke', 'ci'],
  ]) {
    const { status, stdout, stderr } = await token(args, full)
    expect([status, stdout, stderr]).toEqual([
      1,
      '',
      expect.stringContaining('cannot write the audit log /dev/full'),
    ])
  }
  const listed = JSON.parse((await token(['ls', '--json'], env)).stdout)
  expect(listed).toMatchObject([{ name: 'ci', state: 'good' }])
  expect(listed).toHaveLength(1)
})

it('the command follows a link to the list, so that the mirror that reads its target notices the change', async () => {
  const scene = await openScene()
  const folder = await scratch()
  const list = mirrorTokensPath(scene.mirror.config)
  const link = join(folder, 'mine.json')
  await symlink(list, link)
  const env = { HUBMIRROR_MIRROR_TOKENS: link, HUBMIRROR_CACHE_DIR: join(folder, 'store') }
  const mine = (await token(['create', 'ci'], env)).stdout.trim()
  expect((await scene.ask(OPEN, { token: mine })).status).toBe(200)
  expect((await token(['revoke', 'ci'], env)).status).toBe(0)
  scene.clock.advance(1_000)
  expect((await scene.ask(OPEN, { token: mine })).status).toBe(401)
  expect((await lstat(link)).isSymbolicLink()).toBe(true)
})
