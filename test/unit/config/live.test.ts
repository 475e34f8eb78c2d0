import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { isLive, rows } from '../../../src/config/keys.ts'
import { Live } from '../../../src/config/live.ts'
import { loadConfig } from '../../../src/config/load.ts'

/** The config of a file with this text and of command line flags. */
function read(text: string, flags: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'hubmirror-live-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'hubmirror.yaml')
  writeFileSync(path, text)
  return loadConfig({ flags, env: { HUBMIRROR_CONFIG: path, HOME: '/home/u' } }).config
}

const RULES = 'policies:\n  - {name: no-pickles, action: deny, match: {file: "*.bin"}}\n'

it('the shared object shows settings that may change, and no others', () => {
  const live = new Live(read('accessTtl: 1m\nport: 8080\n'))
  const { settings } = live
  expect(settings.accessTtlMs).toBe(60_000)
  expect(settings.cacheMaxSizeBytes).toBeUndefined()
  const next = read(`accessTtl: 2m\nport: 9090\ncache: {maxSize: 2GB, dir: /elsewhere}\n${RULES}`)
  expect(live.change(next)).toEqual({
    changed: ['cache.maxSize', 'accessTtl', 'policies'],
    needRestart: ['port', 'cache.dir'],
  })
  expect([settings.accessTtlMs, settings.cacheMaxSizeBytes]).toEqual([120_000, 2e9])
  expect(settings.policies.map(({ name }) => name)).toEqual(['no-pickles'])
  expect(Object.keys(settings).every(isLive)).toBe(true)
  // A setting that is no longer given has its default again.
  expect(live.change(read('port: 9090\n')).changed).toEqual(['cache.maxSize', 'accessTtl', 'policies'])
  expect([settings.accessTtlMs, settings.cacheMaxSizeBytes]).toEqual([60_000, undefined])
})

it('settings that need a restart are reported for as long as they differ', () => {
  const live = new Live(read('port: 8080\n'))
  const next = read('port: 9090\n')
  expect([live.change(next).needRestart, live.change(next).needRestart]).toEqual([['port'], ['port']])
  expect(live.change(read('port: 8080\n')).needRestart).toEqual([])
})

it('a rule that has only moved in its file counts as unchanged', () => {
  const live = new Live(read(RULES))
  expect(live.change(read(`\n# Moved.\n\n${RULES}`))).toEqual({ changed: [], needRestart: [] })
  expect(live.change(read(RULES.replace('*.bin', '*.pkl'))).changed).toEqual(['policies'])
})

it('a changed Hub token is noticed, and never shown', () => {
  const token = (letter: string) => `hf_${letter.repeat(34)}`
  const live = new Live(read(`token: ${token('a')}\n`))
  const changes = live.change(read(`token: ${token('b')}\ntokens: {team: {token: ${token('c')}}}\n`))
  expect(changes).toEqual({ changed: ['token', 'tokens'], needRestart: [] })
  expect([...live.settings.hubTokens].map(([name, secret]) => [name, secret.reveal()])).toEqual([
    ['default', token('b')],
    ['team', token('c')],
  ])
  expect(JSON.stringify([changes, live.settings.token])).not.toContain('hf_')
})

it('a flag takes precedence over the file, as at the start', () => {
  const live = new Live(read('accessTtl: 1m\n', { accessTtl: '5s' }))
  expect(live.change(read('accessTtl: 9m\n', { accessTtl: '5s' })).changed).toEqual([])
  expect(live.settings.accessTtlMs).toBe(5_000)
})

it('some settings are live, and none of those that name something opened at the start', () => {
  const names = rows().filter(({ name }) => isLive(name))
  expect(names.length).toBeGreaterThan(8)
  for (const { name } of names)
    expect(['host', 'port', 'cacheDir', 'workers', 'auditLog', 'origin']).not.toContain(name)
})
