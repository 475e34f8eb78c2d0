// `hubmirror export`: a stored repo as a cache directory of huggingface_hub. What the clients make of it is in test/clients.

import { lstat, mkdir, readdir, readFile, readlink, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openSides } from '../support/bundles.ts'
import { run } from '../support/run-cli.ts'

async function opened(
  repos: readonly string[] = ['acme/open', 'acme/open@v1', 'acme/odd', 'dataset/acme/data'],
) {
  const sides = await openSides(repos)
  const { scene, at } = sides
  const env = { HUBMIRROR_ORIGIN: scene.hub.url, HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir }
  const commit = scene.commit('acme/open')
  return {
    ...sides,
    env,
    commit,
    folder: at('hub/models--acme--open'),
    snapshot: at(`hub/models--acme--open/snapshots/${commit}`),
    export: (...args: readonly string[]) => run(['export', ...args], env),
  }
}

describe('hubmirror export', () => {
  it('makes the folders, links and refs that the client makes, and adds to what is there', async () => {
    const { scene, at, folder, snapshot, commit, ...here } = await opened()
    const made = await here.export('acme/open', at('hub'))
    expect([made.status, made.stderr]).toEqual([0, ''])
    expect(made.stdout).toContain('written, 0 there before')
    expect((await readdir(folder)).toSorted()).toEqual(['blobs', 'refs', 'snapshots'])
    expect(await readFile(join(folder, 'refs/main'), 'utf8')).toBe(commit)
    const link = await readlink(join(snapshot, 'nested/deeper/vocab.txt'))
    expect(link).toMatch(/^\.\.\/\.\.\/\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/)
    expect(await readlink(join(snapshot, 'w.bin'))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/)
    expect((await readFile(join(snapshot, 'w.bin'))).equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
    expect((await readFile(join(snapshot, 'empty.txt'))).length).toBe(0)

    const again = await here.export('acme/open', at('hub'), '--json')
    expect([again.status, JSON.parse(again.stdout)]).toMatchObject([
      0,
      { complete: true, commit, written: { files: 0 } },
    ])
    expect((await here.export('acme/open@v1', at('hub'))).status).toBe(0)
    expect(await readFile(join(folder, 'refs/v1'), 'utf8')).toBe(scene.commit('acme/open', 'v1'))
    expect((await here.export('dataset/acme/data', at('hub'))).status).toBe(0)
    expect((await here.export('acme/odd', at('hub'), '--copy')).status).toBe(0)
    const odd = at(`hub/models--acme--odd/snapshots/${scene.commit('acme/odd')}`)
    for (const name of ['überraschung/日本語.txt', '100%25.txt', 'sub folder/weights [1] #2.bin']) {
      expect((await lstat(join(odd, name))).isFile()).toBe(true)
      expect((await readFile(join(odd, name))).equals(scene.bytes('acme/odd', name))).toBe(true)
    }
    expect(await readdir(at('hub/models--acme--odd'))).not.toContain('blobs')
  })

  it('overwrites nothing, follows no link out of the directory, and says what is missing', async () => {
    const { at, folder, snapshot, ...here } = await opened(['acme/open'])
    await mkdir(snapshot, { recursive: true })
    await mkdir(at('elsewhere'))
    await writeFile(join(snapshot, 'config.json'), 'mine')
    await symlink(at('elsewhere'), join(snapshot, 'nested'))
    const made = await here.export('acme/open', at('hub'))
    expect(made.status).toBe(1)
    expect(made.stdout).toMatch(/missing: config\.json: .* is not this file/)
    expect(made.stdout).toMatch(/missing: nested\/deeper\/vocab\.txt: .* is no directory/)
    expect(await readFile(join(snapshot, 'config.json'), 'utf8')).toBe('mine')
    expect(await readdir(at('elsewhere'))).toEqual([])
    expect(await readdir(folder)).not.toContain('refs')

    await rm(at('hub'), { recursive: true })
    await symlink(at('elsewhere'), join(at(''), 'linked'))
    await mkdir(at('hub'))
    await symlink(at('elsewhere'), folder)
    const led = await here.export('acme/open', at('hub'))
    expect([led.status, led.stderr]).toEqual([1, expect.stringContaining('is no directory')])
    expect((await here.export('acme/open', at('linked'))).status).toBe(0)

    const none = await here.export('acme/odd', at('hub'))
    expect([none.status, none.stderr]).toEqual([1, expect.stringContaining('hubmirror prefetch acme/odd')])
  })

  it('removes what a run has left that was killed', async () => {
    const { scene, at, folder, snapshot, ...here } = await opened(['acme/open'])
    const left = join(folder, '.hubmirror/0123456789')
    await mkdir(join(folder, '.hubmirror'), { recursive: true })
    await writeFile(left, 'half')
    await utimes(left, 0, 0)
    expect((await here.export('acme/open', at('hub'))).status).toBe(0)
    expect((await readFile(join(snapshot, 'w.bin'))).equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
    await expect(lstat(left)).rejects.toThrow('ENOENT')
  })
})
