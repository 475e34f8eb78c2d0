// `hubmirror token` in a process of its own, with and without a running mirror.

import { chmod, chown, mkdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { mirrorTokensPath } from '../../src/callers/token-file.ts'
import { openScene } from '../support/scene.ts'
import { scratch, token } from '../support/token-commands.ts'

const OPEN = '/acme/open/resolve/main/config.json'

it('a token is issued, listed and revoked beside a running mirror, which notices within a second', async () => {
  const scene = await openScene()
  const where = ['--cache-dir', scene.mirror.cacheDir]
  const created = await token(['create', 'ci', ...where])
  expect([created.status, created.stderr]).toEqual([0, expect.stringContaining('valid until it is revoked')])
  expect(created.stdout).toMatch(/^hf_mirror[A-Za-z0-9]{40}\n$/)
  const mine = created.stdout.trim()
  const status = async () => {
    scene.clock.advance(1_000)
    return (await scene.ask(OPEN, { token: mine })).status
  }
  expect(await status()).toBe(200)
  const listed = await token(['ls', ...where])
  expect(listed.stdout).toMatch(/^NAME +STATE +CREATED +EXPIRES +REPOS\nci +good +just now +never +all\n$/)
  expect(await token(['revoke', 'ci', ...where])).toEqual({ status: 0, stdout: 'revoked ci\n', stderr: '' })
  expect(await status()).toBe(401)
  expect((await token(['revoke', 'ci', ...where])).status).toBe(0)
})

it('a token can be issued before the first start of the mirror, into a store that does not exist yet', async () => {
  const cacheDir = join(await scratch(), 'store')
  const created = await token(['create', 'ci'], { HUBMIRROR_CACHE_DIR: cacheDir })
  expect(created.status).toBe(0)
  const scene = await openScene()
  const second = await scene.another({ cacheDir })
  const got = await fetch(`${second.url}/api/whoami-v2`, {
    headers: { authorization: `Bearer ${created.stdout.trim()}`, connection: 'close' },
  })
  expect([got.status, ((await got.json()) as { name: string }).name]).toEqual([200, 'ci'])
})

it('no token is kept in the list, in the audit log or in a listing', async () => {
  const folder = await scratch()
  const path = join(folder, 'list.json')
  const env = { HUBMIRROR_MIRROR_TOKENS: path, HUBMIRROR_AUDIT_LOG: join(folder, 'audit') }
  const args = [
    'create',
    'team.a',
    '--expires',
    '90d',
    '--repo',
    'acme/*',
    '--repo',
    'datasets/acme/*',
    '--json',
  ]
  const created = await token(args, env)
  const made = JSON.parse(created.stdout) as { token: string; expiresAt: string }
  expect(made).toMatchObject({ name: 'team.a', repos: ['acme/*', 'datasets/acme/*'] })
  const days = (Date.parse(made.expiresAt) - Date.now()) / 86_400_000
  expect(days).toBeGreaterThan(89.9)
  expect(days).toBeLessThan(90.1)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  await token(['revoke', 'team.a'], env)
  const listed = await token(['ls', '--json'], env)
  expect(JSON.parse(listed.stdout)).toMatchObject([
    { name: 'team.a', state: 'revoked', expiresAt: made.expiresAt, repos: ['acme/*', 'datasets/acme/*'] },
  ])
  const acts = (await readFile(env.HUBMIRROR_AUDIT_LOG, 'utf8')).trimEnd().split('\n')
  expect(acts.map((line) => JSON.parse(line))).toMatchObject([
    { audit: 'act', act: 'token-create', name: 'team.a', repos: ['acme/*', 'datasets/acme/*'] },
    { audit: 'act', act: 'token-revoke', name: 'team.a' },
  ])
  for (const text of [await readFile(path, 'utf8'), acts.join(), listed.stdout]) {
    expect(text.includes(made.token.slice(9))).toBe(false)
  }
})

it('a name is issued once while its token is valid, and again when it is no longer valid', async () => {
  const env = { HUBMIRROR_CACHE_DIR: await scratch() }
  const first = await token(['create', 'ci'], env)
  const again = await token(['create', 'ci'], env)
  expect([again.status, again.stdout]).toEqual([1, ''])
  expect(again.stderr).toContain('a token named ci exists; revoke it first')
  await token(['revoke', 'ci'], env)
  const next = await token(['create', 'ci'], env)
  expect([next.status, next.stdout === first.stdout]).toEqual([0, false])
  expect(JSON.parse((await token(['ls', '--json'], env)).stdout)).toMatchObject([
    { name: 'ci', state: 'good' },
  ])
})

it.each([
  [['create'], 'missing required argument'],
  [['create', 'A b'], 'lower-case'],
  [['create', 'ci', '--expires', '90'], 'did you mean 90s?'],
  [['create', 'ci', '--repo', '!acme/*'], "such as 'acme/*'"],
])('the command exits 2 for %j', async (args, message) => {
  const { status, stdout, stderr } = await token(args, { HUBMIRROR_CACHE_DIR: await scratch() })
  expect([status, stdout]).toEqual([2, ''])
  expect(stderr).toContain(message)
})

it('the command exits 1 if the system lets no process make the folder of the list', async () => {
  const list = '/proc/hubmirror/tokens.json'
  const { status, stdout, stderr } = await token(['create', 'ci', '--mirror-tokens', list])
  expect([status, stdout]).toEqual([1, ''])
  expect(stderr).toContain(`hubmirror: ${list}: there is no such file or folder (ENOENT`)
})

const isRoot = process.getuid?.() === 0
const MIRROR = 64_321

it.skipIf(!isRoot)(
  'the command, run by root, makes nothing that a mirror with a user of its own could not read (skipped for others than root)',
  async () => {
    const folder = await scratch()
    await chmod(folder, 0o755)
    const [cacheDir, logs] = [join(folder, 'cache'), join(folder, 'logs')]
    for (const each of [cacheDir, logs]) {
      await mkdir(each, { mode: 0o700 })
      await chown(each, MIRROR, MIRROR)
    }
    const auditLog = join(logs, 'audit.log')
    const env = { HUBMIRROR_CACHE_DIR: cacheDir, HUBMIRROR_AUDIT_LOG: auditLog }
    const ownerOf = async (file: string) => {
      const { uid, gid, mode } = await stat(file)
      return [uid, gid, mode & 0o777]
    }
    const list = mirrorTokensPath({ cacheDir })
    const created = await token(['create', 'ci'], env)
    expect([created.status, await ownerOf(list)]).toEqual([0, [MIRROR, MIRROR, 0o600]])
    expect(await ownerOf(auditLog)).toEqual([MIRROR, MIRROR, 0o600])
    expect((await token(['revoke', 'ci'], env)).status).toBe(0)
    expect(await ownerOf(list)).toEqual([MIRROR, MIRROR, 0o600])
    // The mirror cannot read a list that root created earlier, so the command would have no effect.
    await chown(list, 0, 0)
    for (const args of [
      ['create', 'other'],
      ['revoke', 'ci'],
    ]) {
      const refused = await token(args, env)
      expect([refused.status, refused.stdout, refused.stderr]).toEqual([
        1,
        '',
        expect.stringContaining(`chown ${MIRROR} ${list}`),
      ])
    }
  },
)
