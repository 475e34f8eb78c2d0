import { execFileSync } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { changeTokenFile, readTokenFile, TokenFile } from '../../../src/callers/token-file.ts'
import { formatTokenList, tokenHash } from '../../../src/callers/token-list.ts'
import { manualClock } from '../../support/clock.ts'

const entry = (name: string) => ({ name, sha256: tokenHash(name), createdAt: 1_000 })

async function setUp() {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-tokens-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'new', 'tokens.json')
  const clock = manualClock()
  const troubles: string[] = []
  const file = new TokenFile({ path, monotonic: clock.now, onTrouble: (reason) => troubles.push(reason) })
  const names = async (afterMs = 1_000, anew = false) => {
    clock.advance(afterMs)
    await file.refresh(anew)
    return file.list().map(({ name }) => name)
  }
  return { path, folder: join(folder, 'new'), file, names, troubles }
}

it('the list follows its file: missing, created, changed, removed; it is checked once a second', async () => {
  const { path, names, troubles } = await setUp()
  expect(await names(0)).toEqual([])
  await changeTokenFile(path, (list) => [...list, entry('a')])
  expect(await names(999)).toEqual([])
  expect(await names(0, true)).toEqual(['a'])
  expect(await names(1)).toEqual(['a'])
  await changeTokenFile(path, (list) => [...list, entry('b')])
  expect(await names()).toEqual(['a', 'b'])
  await rm(path)
  expect(await names()).toEqual([])
  expect(troubles).toEqual([])
})

it('the last valid list stays in use while the file is broken or not trusted, and each fault is reported once', async () => {
  const { path, names, troubles } = await setUp()
  await changeTokenFile(path, () => [entry('a')])
  expect(await names()).toEqual(['a'])
  await writeFile(path, '{"version":1,"tok')
  expect([await names(), await names(), troubles]).toEqual([['a'], ['a'], ['it is not valid JSON']])
  await writeFile(path, formatTokenList([entry('b')]))
  await chmod(path, 0o666)
  expect([await names(), troubles.length, troubles[1]]).toEqual([
    ['a'],
    2,
    expect.stringContaining('chmod o-w'),
  ])
  await expect(readTokenFile(path)).rejects.toThrow('chmod o-w')
  await chmod(path, 0o660)
  expect(await names()).toEqual(['b'])
  await writeFile(path, 'x'.repeat(70_000_000))
  expect([await names(), troubles.length]).toEqual([['b'], 3])
})

it('the file is readable only by its owner, and no other file is left beside it', async () => {
  const { path, folder } = await setUp()
  await changeTokenFile(path, () => [entry('a')])
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  await expect(
    changeTokenFile(path, () => {
      throw new Error('no')
    }),
  ).rejects.toThrow('no')
  expect(await readdir(folder)).toEqual(['tokens.json'])
  expect(await readFile(path, 'utf8')).toBe(formatTokenList([entry('a')]))
})

it('no change of concurrent commands is lost', async () => {
  const { path } = await setUp()
  const wanted = Array.from({ length: 12 }, (_, index) => `t${index}`)
  await Promise.all(wanted.map((name) => changeTokenFile(path, (list) => [...list, entry(name)])))
  expect((await readTokenFile(path)).map(({ name }) => name).toSorted()).toEqual(wanted.toSorted())
})

it('the file is not changed if it cannot be read', async () => {
  const { path } = await setUp()
  await changeTokenFile(path, () => [entry('a')])
  await writeFile(path, '{"version":3}')
  await expect(changeTokenFile(path, () => [])).rejects.toThrow('not a list of tokens')
  expect(await readFile(path, 'utf8')).toBe('{"version":3}')
})

it('a pipe or a folder in place of the file blocks nothing', async () => {
  const { path, names, troubles } = await setUp()
  await changeTokenFile(path, () => [entry('a')])
  expect(await names()).toEqual(['a'])
  await rm(path)
  execFileSync('mkfifo', ['-m', '600', path])
  expect([await names(), troubles]).toEqual([['a'], ['it is not a regular file']])
  await expect(changeTokenFile(path, () => [])).rejects.toThrow('it is not a regular file')
  await rm(path)
  await mkdir(path, { mode: 0o700 })
  await expect(readTokenFile(path)).rejects.toThrow('it is not a regular file')
})

it('the list may hold as many tokens as fit into the file, none of them twice', async () => {
  const { path, names, troubles } = await setUp()
  const many = Array.from({ length: 20_000 }, (_, index) => entry(`t${index}`))
  await changeTokenFile(path, () => many)
  expect(await names()).toHaveLength(20_000)
  await writeFile(path, formatTokenList([...many, entry('t7')]))
  expect([(await names()).length, troubles]).toEqual([20_000, ['it contains t7 twice']])
})

it('the file does not grow beyond the size that a mirror reads', async () => {
  const { path, folder } = await setUp()
  await changeTokenFile(path, () => [entry('a')])
  const large = { ...entry('large'), repos: ['a'.repeat(64 * 1024 * 1024)] }
  await expect(changeTokenFile(path, (list) => [...list, large])).rejects.toThrow('revoke tokens')
  expect([await readFile(path, 'utf8'), await readdir(folder)]).toEqual([
    formatTokenList([entry('a')]),
    ['tokens.json'],
  ])
})
