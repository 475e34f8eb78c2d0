// `hubmirror bundle`: from a mirror that has the Hub, in one file, to a mirror that never had a network.

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { openSink } from '../../src/commands/bundle/parts.ts'
import { lfs } from '../hub-simulator/repos.ts'
import { ask } from '../support/ask.ts'
import { openSides } from '../support/bundles.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { prefetchBy } from '../support/prefetch.ts'
import { run } from '../support/run-cli.ts'
import type { RunningMirror } from '../support/start-mirror.ts'

const call = promisify(execFile)
const ODD = 'acme/odd'

/** What clients ask of an offline mirror about a revision. */
async function expectAll(mirror: RunningMirror, about: { commit: string; revision: string; wBin: Buffer }) {
  const { commit, revision, wBin } = about
  const json = async (target: string, question = {}): Promise<unknown> => {
    const got = await ask(mirror.url, target, question)
    expect([target, got.status]).toEqual([target, 200])
    return JSON.parse(got.body.toString()) as unknown
  }
  const api = '/api/models/acme/open'
  const info = (await json(`${api}/revision/${revision}`)) as { siblings: { rfilename: string }[] }
  expect(info).toMatchObject({ id: 'acme/open', sha: commit, private: false })
  expect(info.siblings.map(({ rfilename }) => rfilename)).toContain('nested/deeper/vocab.txt')
  expect(await json(`${api}/revision/${revision}?blobs=true`)).toMatchObject({ sha: commit })
  const tree = (await json(`${api}/tree/${revision}?recursive=true`)) as {
    path: string
    lfs?: { size: number }
  }[]
  expect(tree.find(({ path }) => path === 'w.bin')?.lfs?.size).toBe(wBin.length)
  expect(await json(`${api}/tree/${revision}/nested?recursive=false`)).toMatchObject([
    { path: 'nested/deeper' },
  ])
  const paths = {
    method: 'POST',
    body: '{"paths":["w.bin","none"]}',
    headers: { 'content-type': 'application/json' },
  }
  expect(await json(`${api}/paths-info/${revision}`, paths)).toMatchObject([
    { path: 'w.bin', size: wBin.length },
  ])
  const target = `/acme/open/resolve/${revision}/w.bin`
  const head = await ask(mirror.url, target, { method: 'HEAD' })
  expect([head.status, head.headers['x-repo-commit'], head.headers['content-length']]).toEqual([
    200,
    commit,
    String(wBin.length),
  ])
  expect((await ask(mirror.url, target)).body.equals(wBin)).toBe(true)
  expect((await ask(mirror.url, `/acme/open/resolve/${revision}/empty.txt`)).status).toBe(200)
  const absent = await ask(mirror.url, `/acme/open/resolve/${revision}/none.txt`)
  expect([absent.status, absent.headers['x-error-code']]).toEqual([404, 'EntryNotFound'])
}

describe('hubmirror bundle', () => {
  it('carries repos to a mirror without a network, where every question of a client is answered', async () => {
    const { scene, at, here, there, openThere } = await openSides(
      ['acme/open', 'acme/open@v1', ODD, 'dataset/acme/data'],
      { hub: { pageSize: 2 } },
    )
    const made = await here('create', at('a.tar'), 'acme/open', 'acme/open@v1', ODD, 'dataset/acme/data')
    expect([made.status, made.stdout]).toEqual([0, ''])
    expect(made.stderr).toContain('3 repos')
    const { stdout: listed } = await call('tar', ['tvf', at('a.tar')])
    expect(listed.split('\n')[0]).toMatch(/^-r--r--r-- .* bundle\.json$/)
    const names = listed.split('\n').map((line) => line.split(' ').at(-1))
    expect(new Set(names).size).toBe(names.length)

    const verified = await there('verify', at('a.tar'))
    expect([verified.status, verified.stderr]).toEqual([0, ''])
    expect(verified.stdout).toContain('all right')

    const loaded = await there('load', at('a.tar'))
    expect([loaded.status, loaded.stderr]).toEqual([0, ''])
    expect(loaded.stdout).toContain('acme/open: every caller of this mirror may read it')

    scene.hub.ledger.clear()
    const mirror = await openThere()
    const commit = scene.commit('acme/open')
    const wBin = scene.bytes('acme/open', 'w.bin')
    const api = await ask(mirror.url, '/api/models/acme/open')
    expect(JSON.parse(api.body.toString())).toMatchObject({ sha: commit })
    const first = scene.commit('acme/open', 'v1')
    for (const about of [
      { commit, revision: 'main' },
      { commit, revision: commit },
      { commit: first, revision: 'v1' },
    ])
      await expectAll(mirror, { ...about, wBin })
    const refs = JSON.parse((await ask(mirror.url, '/api/models/acme/open/refs')).body.toString()) as object
    expect(refs).toMatchObject({ tags: [{ name: 'v1', targetCommit: first }] })
    const names2 = ['überraschung/日本語.txt', '100%25.txt', 'sub folder/weights [1] #2.bin']
    for (const name of names2) {
      const target = `/${ODD}/resolve/main/${encodeURIComponent(name).replaceAll('%2F', '/')}`
      expect((await ask(mirror.url, target)).body.equals(scene.bytes(ODD, name))).toBe(true)
    }
    const parquet = await ask(mirror.url, '/datasets/acme/data/resolve/main/data/train.parquet')
    expect(parquet.body.equals(scene.bytes('acme/data', 'data/train.parquet', { type: 'datasets' }))).toBe(
      true,
    )
    expect(scene.hub.ledger.requests().length).toBe(0)
  })

  it('is loaded by a mirror that runs, which then shows the newer commit of the branch', async () => {
    const { scene, at, here, there, openThere } = await openSides(['acme/open'])
    await here('create', at('one.tar'), 'acme/open')
    const mirror = await openThere()
    await mirror.app.openControl()
    expect((await ask(mirror.url, '/acme/open/resolve/main/config.json')).status).toBe(404)
    expect((await there('load', at('one.tar'))).status).toBe(0)
    const config = '/acme/open/resolve/main/config.json'
    expect((await ask(mirror.url, config)).body.toString()).toContain('"v":2')
    const info = '/api/models/acme/open/revision/main'
    expect((await ask(mirror.url, info)).status).toBe(200)

    const before = scene.commit('acme/open')
    const repo = scene.world.find('models', 'acme/open')!.repo
    repo.commit({ 'config.json': '{"v":3}\n' })
    scene.clock.advance(60_000)
    await prefetchBy(scene.socket, ['acme/open'])
    const made = await here('create', at('two.tar'), 'acme/open', '--since', at('one.tar'))
    expect([made.status, made.stderr]).toEqual([0, expect.stringContaining('builds on')])
    const two = await readFile(at('two.tar'))
    expect(two.length).toBeLessThan(100_000)
    // The manifest of the earlier bundle is enough.
    await call('tar', ['xf', at('one.tar'), '-C', at('.'), 'manifest.jsonl'])
    const bare = await here('create', at('bare.tar'), 'acme/open', '--since', at('manifest.jsonl'))
    expect([bare.status, bare.stderr]).toEqual([0, made.stderr.replaceAll('two.tar', 'bare.tar')])
    expect((await here('verify', at('bare.tar'), '--json')).stdout).toBe(
      (await here('verify', at('two.tar'), '--json')).stdout.replaceAll('two.tar', 'bare.tar'),
    )

    const alone = await here('load', at('two.tar'), '--cache-dir', at('empty'))
    expect([alone.status, alone.stderr]).toEqual([1, expect.stringContaining('Load that bundle first')])

    expect((await there('load', at('two.tar'))).status).toBe(0)
    expect((await ask(mirror.url, config)).body.toString()).toBe('{"v":3}\n')
    const sha = JSON.parse((await ask(mirror.url, info)).body.toString()) as { sha: string }
    expect(sha.sha).toBe(scene.commit('acme/open'))
    const old = await ask(mirror.url, `/acme/open/resolve/${before}/config.json`)
    expect(old.body.toString()).toContain('"v":2')
  })

  it('carries what Ollama and llama.cpp ask the registry, until the branch has other files', async () => {
    const { scene, at, here, there, openThere } = await openSides([])
    const repo = scene.world.model('acme/gguf')
    const gguf = Buffer.alloc(200_000, 'weights ')
    repo.commit({
      'tiny-Q4_K_M.gguf': lfs(gguf),
      'tiny-Q8_0.gguf': lfs('other weights'),
      'README.md': '# x\n',
    })
    await prefetchBy(scene.socket, ['acme/gguf'])
    const made = await here('create', at('a.tar'), 'acme/gguf', '--exclude', '*Q8_0*')
    expect([made.status, made.stdout]).toEqual([0, ''])
    expect((await there('verify', at('a.tar'))).status).toBe(0)
    expect((await there('load', at('a.tar'))).status).toBe(0)

    scene.hub.ledger.clear()
    const mirror = await openThere()
    await mirror.app.openControl()
    const manifestOf = (tag: string, headers: Record<string, string>) =>
      ask(mirror.url, `/v2/acme/gguf/manifests/${tag}`, { headers })
    const [llama, ollama] = [
      { 'user-agent': 'llama-cpp/b6000', accept: 'application/json' },
      { 'user-agent': 'ollama/0.9', accept: 'application/vnd.docker.distribution.manifest.v2+json' },
    ]
    for (const tag of ['latest', 'Q4_K_M']) {
      const named = JSON.parse((await manifestOf(tag, llama)).body.toString()) as object
      expect(named).toMatchObject({ ggufFile: { rfilename: 'tiny-Q4_K_M.gguf' } })
      const answer = await manifestOf(tag, ollama)
      expect([answer.status, answer.headers['x-cache']]).toEqual([200, 'HIT'])
      const { layers, config } = JSON.parse(answer.body.toString()) as {
        readonly layers: readonly { readonly digest: string }[]
        readonly config: { readonly digest: string }
      }
      const blob = await ask(mirror.url, `/v2/acme/gguf/blobs/${layers[0]?.digest}`)
      expect(blob.body.equals(gguf)).toBe(true)
      const small = await ask(mirror.url, `/v2/acme/gguf/blobs/${config.digest}`)
      expect(small.body.toString()).toBe('{"model_format":"gguf"}')
    }
    // Its file was left out.
    expect((await manifestOf('Q8_0', ollama)).status).toBe(404)
    expect(scene.hub.ledger.requests()).toEqual([])

    // Other files of the same commit take nothing away.
    expect((await here('create', at('c.tar'), 'acme/gguf', '--exclude', '*Q4_K_M*')).status).toBe(0)
    expect((await there('load', at('c.tar'))).status).toBe(0)
    for (const tag of ['Q4_K_M', 'Q8_0']) expect((await manifestOf(tag, ollama)).status).toBe(200)

    repo.commit({ 'README.md': '# y\n' })
    scene.clock.advance(60_000)
    await prefetchBy(scene.socket, ['acme/gguf'])
    expect((await here('create', at('b.tar'), 'acme/gguf', '--exclude', '*.gguf')).status).toBe(0)
    expect((await there('load', at('b.tar'))).status).toBe(0)
    for (const headers of [llama, ollama]) expect((await manifestOf('latest', headers)).status).toBe(404)
    expect((await there('load', at('a.tar'))).status).toBe(0)
    expect((await manifestOf('latest', ollama)).status).toBe(200)
  })

  it('is split into parts, and refused when one is missing, changed or in another place', async () => {
    const { at, folder, here, there } = await openSides(['acme/open'])
    const made = await here('create', at('a.tar'), 'acme/open', '--split', '1MB')
    expect(made.status).toBe(0)
    const parts = (await readdir(folder)).filter((name) => name.startsWith('a.tar')).sort()
    expect(parts).toEqual(['a.tar.001', 'a.tar.002', 'a.tar.003', 'a.tar.004'])
    expect((await there('verify', at('a.tar.001'))).status).toBe(0)
    const again = await here('create', at('a.tar'), 'acme/open')
    expect([again.status, again.stderr]).toEqual([1, expect.stringContaining('exists already')])
    const [second, third] = [await readFile(at('a.tar.002')), await readFile(at('a.tar.003'))]

    await writeFile(at('a.tar.002'), third)
    await writeFile(at('a.tar.003'), second)
    const swapped = await there('verify', at('a.tar'))
    expect([swapped.status, swapped.stderr]).toEqual([1, expect.stringMatching(/damaged .*w\.bin|tar/)])
    const load = await there('load', at('a.tar'))
    expect([load.status, load.stderr]).toEqual([
      1,
      expect.stringMatching(/w\.bin: the bytes do not have their digest|tar/),
    ])

    await writeFile(at('a.tar.002'), second)
    await writeFile(at('a.tar.003'), third)
    await copyFile(at('a.tar.004'), at('b'))
    await call('rm', [at('a.tar.004')])
    const cut = await there('load', at('a.tar'))
    expect([cut.status, cut.stderr]).toEqual([1, expect.stringContaining('cut short')])
    await copyFile(at('b'), at('a.tar.004'))
    const whole = await there('load', at('a.tar'))
    expect([whole.status, whole.stdout]).toEqual([0, expect.stringContaining('every caller')])
  })

  it('is written again after a run was killed between the names of two parts, or could not give one', async () => {
    const { at, folder, here, there } = await openSides(['acme/open'])
    const create = () => here('create', at('a.tar'), 'acme/open', '--split', '1MB')
    expect((await create()).status).toBe(0)
    const parts = (await readdir(folder)).toSorted()
    for (const left of [1, parts.length - 1]) {
      // The first part is named last.
      for (const name of parts.slice(0, left)) await rename(at(name), at(`${name}.unfinished`))
      expect(await create()).toMatchObject({ status: 0 })
      expect((await readdir(folder)).toSorted()).toEqual(parts)
      expect((await there('verify', at('a.tar'))).status).toBe(0)
    }

    const sink = await openSink(at('b.tar'), 1000)
    await sink.write(Buffer.alloc(2500))
    await mkdir(at('b.tar.001'))
    await expect(sink.finish()).rejects.toThrow('EISDIR')
    await sink.abandon()
    expect((await readdir(folder)).toSorted()).toEqual([...parts, 'b.tar.001'])
  })

  it('leaves no file, and names the cure, when something is not stored', async () => {
    const { folder, at, here } = await openSides([])
    const none = await here('create', at('a.tar'), 'acme/open')
    expect([none.status, none.stderr]).toEqual([1, expect.stringContaining('hubmirror prefetch acme/open')])
    expect(await readdir(folder)).toEqual([])
  })

  it('carries a private repo only if that is asked for, to the callers whom a rule of the other side names', async () => {
    const rule = (name: string) =>
      `- name: ${name}\n  match: { repo: acme/secret, caller: { network: 127.0.0.0/8 } }\n  action: serve-stored\n`
    const { scene, at, here, there } = await openSides([])
    await writeFile(at('rules.yaml'), `policies:\n${rule('here')}`)
    const { cacheDir } = scene.mirror
    const flags = ['--config', at('rules.yaml'), '--cache-private', 'on'] as const
    await scene.mirror.close({ keepDir: true })
    const env = { HUBMIRROR_ORIGIN: scene.hub.url, HF_TOKEN: TOKENS.alice, HUBMIRROR_CACHE_DIR: cacheDir }
    const fetched = await run(['prefetch', 'acme/secret', ...flags], {
      ...env,
      HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2',
    })
    expect([fetched.status, fetched.stderr]).toEqual([0, expect.any(String)])

    const unasked = await here('create', at('a.tar'), 'acme/secret', ...flags)
    expect([unasked.status, unasked.stderr]).toEqual([1, expect.stringContaining('--private')])
    const made = await here('create', at('a.tar'), 'acme/secret', '--private', ...flags)
    expect([made.status, made.stderr]).toEqual([0, expect.stringContaining('keep it secret')])
    const unruled = await there('load', at('a.tar'))
    expect([unruled.status, unruled.stdout]).toEqual([1, expect.stringContaining('serve-stored')])
    const ruled = await there('load', at('a.tar'), ...flags)
    expect([ruled.status, ruled.stdout]).toEqual([
      0,
      expect.stringContaining('acme/secret: private or gated'),
    ])

    const open = (policies: string) =>
      scene.another({
        cacheDir: at('store'),
        config: { offline: true, cachePrivate: true, policies: policiesOf(policies) },
      })
    const target = '/acme/secret/resolve/main/w.bin'
    const named = await open(rule('there'))
    expect((await ask(named.url, target)).body.equals(scene.bytes('acme/secret', 'w.bin'))).toBe(true)
    await named.close({ keepDir: true })
    const unnamed = await open('[]\n')
    expect((await ask(unnamed.url, target)).status).toBeGreaterThanOrEqual(400)
    expect(existsSync(at('a.tar'))).toBe(true)
  })
})
