import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { isLive, rows } from '../../../src/config/keys.ts'
import { Live } from '../../../src/config/live.ts'
import { loadConfig } from '../../../src/config/load.ts'

/** The config that a file with this text gives, beside what a command line says. */
function read(text: string, flags: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'hubmirror-live-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'hubmirror.yaml')
  writeFileSync(path, text)
  return loadConfig({ flags, env: { HUBMIRROR_CONFIG: path, HOME: '/home/u' } }).config
}

const RULES = 'policies:\n  - {name: no-pickles, action: deny, match: {file: "*.bin"}}\n'

it('hands on what may change through the object that everybody keeps, and nothing else', () => {
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
  // What is not given any more has its default again.
  expect(live.change(read('port: 9090\n')).changed).toEqual(['cache.maxSize', 'accessTtl', 'policies'])
  expect([settings.accessTtlMs, settings.cacheMaxSizeBytes]).toEqual([60_000, undefined])
})

it('names what needs a restart for as long as it differs', () => {
  const live = new Live(read('port: 8080\n'))
  const next = read('port: 9090\n')
  expect([live.change(next).needRestart, live.change(next).needRestart]).toEqual([['port'], ['port']])
  expect(live.change(read('port: 8080\n')).needRestart).toEqual([])
})

it('calls nothing changed that has only moved in its file', () => {
  const live = new Live(read(RULES))
  expect(live.change(read(`\n# Moved.\n\n${RULES}`))).toEqual({ changed: [], needRestart: [] })
  expect(live.change(read(RULES.replace('*.bin', '*.pkl'))).changed).toEqual(['policies'])
})

it('sees another Hub token, and shows none', () => {
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

it('lets a flag win over the file, as at the start', () => {
  const live = new Live(read('accessTtl: 1m\n', { accessTtl: '5s' }))
  expect(live.change(read('accessTtl: 9m\n', { accessTtl: '5s' })).changed).toEqual([])
  expect(live.settings.accessTtlMs).toBe(5_000)
})

it('is said of some settings, and of those that name what is opened at the start of none', () => {
  const names = rows().filter(({ name }) => isLive(name))
  expect(names.length).toBeGreaterThan(8)
  for (const { name } of names)
    expect(['host', 'port', 'cacheDir', 'workers', 'auditLog', 'origin']).not.toContain(name)
})
