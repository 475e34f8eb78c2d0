// `hubmirror import`: what clients have downloaded before, into a mirror that has the Hub and into one that has none. The caches
// are made by `hubmirror export`; those of the clients themselves are in test/clients.

import { execFile } from 'node:child_process'
import { appendFile, chmod, cp, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { ask } from '../support/ask.ts'
import { openSides } from '../support/bundles.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { policiesOf } from '../support/policies.ts'
import { run } from '../support/run-cli.ts'
import { gitName, lfsName } from '../support/store-check.ts'

const call = promisify(execFile)

/** A cache directory with these repos, and a store that has none of them. */
async function opened(repos: readonly string[] = ['acme/open', 'acme/open@v1']) {
  const sides = await openSides(repos)
  const { scene, at } = sides
  const env = { HUBMIRROR_ORIGIN: scene.hub.url, HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2' }
  for (const repo of repos) {
    const made = await run(['export', repo, at('hub')], {
      ...env,
      HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir,
    })
    expect([made.status, made.stderr]).toEqual([0, ''])
  }
  const there = { ...env, HUBMIRROR_CACHE_DIR: at('store') }
  const commit = scene.commit('acme/open')
  scene.hub.ledger.clear()
  return {
    ...sides,
    there,
    commit,
    snapshot: at(`hub/models--acme--open/snapshots/${commit}`),
    /** Imports for a mirror that has the Hub. */
    online: (...args: readonly string[]) => run(['import', ...args], there),
    offline: (...args: readonly string[]) => run(['import', ...args], { ...there, HUBMIRROR_OFFLINE: 'on' }),
  }
}

describe('hubmirror import, for a mirror that has the Hub', () => {
  it('brings a cache directory, of which no byte is downloaded again', async () => {
    const { scene, at, commit, ...here } = await opened()
    const dry = await here.online(at('hub'), '--dry-run')
    expect([dry.status, dry.stdout]).toEqual([0, expect.stringContaining('to import')])
    const done = await here.online(at('hub'))
    expect([done.status, done.stderr]).toEqual([0, ''])
    expect(done.stdout).toMatch(/: 5 files; 1 \(0 B\) stored before, 4 \(3 MB\) imported\n/)
    const again = await here.online(at('hub'), '--json')
    expect(JSON.parse(again.stdout)).toMatchObject({
      repos: [{ by: 'hub', refused: [] }, { by: 'hub' }],
      skipped: [],
    })
    const mirror = await scene.another({ cacheDir: at('store') })
    for (const revision of ['main', 'v1', commit])
      expect((await ask(mirror.url, `/acme/open/resolve/${revision}/w.bin`)).status).toBe(200)
    const got = await ask(mirror.url, '/acme/open/resolve/main/w.bin')
    expect(got.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
    expect((await ask(mirror.url, '/acme/open/resolve/main/nested/deeper/vocab.txt')).status).toBe(200)
    expect(scene.hub.ledger.bodyRequests()).toEqual([])
    await mirror.close({ keepDir: true })

    const cut = await scene.another({ cacheDir: at('store'), config: { offline: true } })
    const target = '/acme/open/resolve/main/w.bin'
    expect((await ask(cut.url, target)).body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
    expect((await ask(cut.url, `/api/models/acme/open/tree/main?recursive=true`)).status).toBe(200)
  })

  it('brings plain folders and those of --local-dir to a mirror that runs, and refuses what is not of the commit', async () => {
    const { scene, at, commit, snapshot, ...here } = await opened()
    const mirror = await scene.another({ cacheDir: at('store') })
    await mirror.app.openControl()
    await cp(snapshot, at('plain'), { recursive: true, dereference: true })
    // An export is not writable, and a copy of it keeps that mode.
    await chmod(at('plain/config.json'), 0o644)
    await appendFile(at('plain/config.json'), ' ')
    await writeFile(at('plain/note.txt'), 'mine')
    await symlink('/etc/passwd', at('plain/link.txt'))
    await call('mkfifo', [at('plain/pipe')])
    const unnamed = await here.online(at('plain'))
    expect([unnamed.status, unnamed.stderr]).toEqual([1, expect.stringContaining('--revision')])
    const args = ['--repo', 'acme/open', '--revision', commit]
    const done = await here.online(at('plain'), ...args)
    expect([done.status, done.stdout]).toEqual([1, expect.stringContaining('2 refused')])
    expect(done.stdout).toMatch(/it was changed, or is of another commit\n {4}config\.json/)
    expect(done.stdout).toMatch(/the commit has no such file\n {4}note\.txt/)
    expect(done.stdout).toMatch(/it is a link\n .*link\.txt/)
    expect(done.stdout).toMatch(/it is no regular file\n .*pipe/)
    const got = await ask(mirror.url, '/acme/open/resolve/main/w.bin')
    expect(got.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
    expect(scene.hub.ledger.bodyRequests()).toEqual([])

    await cp(at('plain'), at('local'), {
      recursive: true,
      filter: (file) => !/link\.txt|pipe|note\.txt/.test(file),
    })
    await writeFile(at('local/config.json'), scene.bytes('acme/open', 'config.json'))
    const notes = at('local/.cache/huggingface/download')
    await mkdir(notes, { recursive: true })
    for (const name of ['config.json', 'w.bin'])
      await writeFile(join(notes, `${name}.metadata`), `${commit}\nx\n1\n`)
    const local = await here.online(at('local'), '--repo', 'acme/open')
    expect(local.stdout).toMatch(/2 files; 1 \(3 MB\) stored before, 1 \(\d+ B\) imported/)
    expect([local.status, local.stdout]).toEqual([1, expect.stringContaining('has not noted its commit')])
  })

  it('stores nothing of a private repo that the mirror must not keep, whatever the operator says of it', async () => {
    const { scene, at, ...here } = await opened()
    const commit = scene.commit('acme/secret')
    await mkdir(at('secret'))
    await writeFile(at('secret/w.bin'), scene.bytes('acme/secret', 'w.bin'))
    const args = [at('secret'), '--repo', 'acme/secret', '--revision', commit]
    const blind = await here.online(...args)
    expect([blind.status, blind.stdout]).toEqual([1, expect.stringContaining('HF_TOKEN')])
    const claimed = await here.online(...args, '--public')
    expect([claimed.status, claimed.stdout]).toEqual([
      1,
      expect.stringContaining('the Hub says that the repo is not public'),
    ])
    const known = await run(['import', ...args], { ...here.there, HF_TOKEN: TOKENS.alice })
    expect([known.status, known.stdout]).toEqual([1, expect.stringContaining('HUBMIRROR_CACHE_PRIVATE')])
    const { stdout } = await call('sh', ['-c', `find ${at('store')}/blobs -type f | wc -l`])
    expect(stdout.trim()).toBe('0')
    const kept = await run(['import', ...args, '--cache-private', 'on'], {
      ...here.there,
      HF_TOKEN: TOKENS.alice,
    })
    expect([kept.status, kept.stdout]).toEqual([0, expect.stringContaining('imported')])
    const mirror = await scene.another({ cacheDir: at('store'), config: { cachePrivate: true } })
    const target = '/acme/secret/resolve/main/w.bin'
    expect((await ask(mirror.url, target)).status).toBe(401)
    scene.hub.ledger.clear()
    const got = await ask(mirror.url, target, { headers: { authorization: `Bearer ${TOKENS.alice}` } })
    expect(got.body.equals(scene.bytes('acme/secret', 'w.bin'))).toBe(true)
    expect(scene.hub.ledger.bodyRequests()).toEqual([])
  })
})

describe('hubmirror import, for a mirror without the Hub', () => {
  it('takes the word of the operator, and nothing without it', async () => {
    const { scene, at, commit, ...here } = await opened()
    const unsaid = await here.offline(at('hub'))
    expect([unsaid.status, unsaid.stdout]).toEqual([1, expect.stringContaining('give --public')])
    const done = await here.offline(at('hub'), '--public', '--whole')
    expect([done.status, done.stderr]).toEqual([0, ''])
    expect(done.stdout).toContain('every caller of this mirror may read it')
    expect(scene.hub.ledger.requests()).toEqual([])
    const mirror = await scene.another({ cacheDir: at('store'), config: { offline: true } })
    for (const revision of ['main', commit]) {
      const got = await ask(mirror.url, `/acme/open/resolve/${revision}/w.bin`)
      expect(got.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
      const info = JSON.parse(
        (await ask(mirror.url, `/api/models/acme/open/revision/${revision}`)).body.toString(),
      ) as {
        siblings: unknown[]
      }
      expect(info).toMatchObject({ id: 'acme/open', sha: commit, private: false })
      expect(info.siblings.length).toBe(5)
    }
    const older = await ask(mirror.url, '/acme/open/resolve/v1/config.json')
    expect(older.body.equals(scene.bytes('acme/open', 'config.json', { revision: 'v1' }))).toBe(true)
    const refs = JSON.parse((await ask(mirror.url, '/api/models/acme/open/refs')).body.toString()) as object
    expect(refs).toMatchObject({ branches: [{ name: 'main', targetCommit: commit }] })
  })

  it('lists a commit by what the client has stored of it in trees, without the word that all files are there', async () => {
    const { scene, at, commit, snapshot, ...here } = await opened(['acme/open'])
    const paths = ['README.md', 'config.json', 'empty.txt', 'nested/deeper/vocab.txt', 'w.bin']
    const files = Object.fromEntries(
      paths.map((path) => {
        const bytes = scene.bytes('acme/open', path)
        const digest = (name: string): string => name.slice(name.indexOf('-') + 1)
        const lfs = { lfs_sha256: digest(lfsName(bytes)), lfs_size: bytes.length }
        const entry = { size: bytes.length, blob_id: digest(gitName(bytes)) }
        return [path, path === 'w.bin' ? { ...entry, ...lfs } : entry]
      }),
    )
    const trees = at('hub/models--acme--open/trees')
    await mkdir(trees)
    const tree = { format_version: 1, files }
    await writeFile(join(trees, `${commit}.json`), JSON.stringify(tree))
    // It is in the listing, and not in the cache.
    await rm(join(snapshot, 'config.json'))
    const done = await here.offline(at('hub'), '--public')
    expect([done.status, done.stderr]).toEqual([0, ''])
    expect(done.stdout).toMatch(/: 4 files; .* imported\n/)
    expect(done.stdout).not.toContain('by their names only')
    const mirror = await scene.another({ cacheDir: at('store'), config: { offline: true } })
    const listed = await ask(mirror.url, `/api/models/acme/open/tree/${commit}?recursive=true`)
    const entries = JSON.parse(listed.body.toString()) as { type: string; path: string }[]
    expect(entries.filter(({ type }) => type === 'file').map(({ path }) => path)).toEqual(paths)
    const got = await ask(mirror.url, '/acme/open/resolve/main/w.bin')
    expect(got.body.equals(scene.bytes('acme/open', 'w.bin'))).toBe(true)
    // The mirror does not say that the commit lacks it.
    const absent = await ask(mirror.url, '/acme/open/resolve/main/config.json')
    expect([absent.status, absent.headers['x-error-code']]).toEqual([404, 'RepoNotFound'])
    await mirror.close({ keepDir: true })

    // The listing does not have it.
    await writeFile(join(snapshot, 'note.txt'), 'mine')
    const foreign = await here.offline(at('hub'), '--public')
    expect([foreign.status, foreign.stdout]).toEqual([1, expect.stringContaining('note.txt')])
  })

  it('refuses bytes that do not have their digest, and links out of the cache', async () => {
    const { scene, at, snapshot, ...here } = await opened(['acme/open'])
    const blobs = at('hub/models--acme--open/blobs')
    const name = (await readdir(blobs)).find((one) => one.length === 64) ?? ''
    const bytes = Buffer.from(scene.bytes('acme/open', 'w.bin'))
    bytes[100] = (bytes[100] ?? 0) ^ 1
    await rm(join(blobs, name))
    await writeFile(join(blobs, name), bytes)
    await rm(join(snapshot, 'config.json'))
    await symlink('/etc/passwd', join(snapshot, 'config.json'))
    const done = await here.offline(at('hub'), '--public')
    expect(done.status).toBe(1)
    expect(done.stdout).toMatch(/refused: the bytes do not have their digest\n {4}w\.bin/)
    expect(done.stdout).toMatch(/refused: the link leads out of the cache\n .*config\.json/)
    expect(done.stdout).toContain('by their names only')
    const mirror = await scene.another({ cacheDir: at('store'), config: { offline: true } })
    for (const name of ['w.bin', 'config.json']) {
      const got = await ask(mirror.url, `/acme/open/resolve/main/${name}`)
      // Not stored, and not said to be absent from the commit.
      expect([got.status, got.headers['x-error-code']]).toEqual([
        404,
        expect.not.stringContaining('EntryNotFound'),
      ])
    }
    expect((await ask(mirror.url, '/acme/open/resolve/main/nested/deeper/vocab.txt')).status).toBe(200)
    await mirror.close({ keepDir: true })
    // A file was skipped, so the folder is not all of the commit, whatever the operator says.
    await writeFile(join(blobs, name), scene.bytes('acme/open', 'w.bin'))
    const whole = await here.offline(at('hub'), '--public', '--whole')
    expect([whole.status, whole.stdout]).toEqual([1, expect.stringContaining('by their names only')])
  })

  it('lets those read a private repo whom a rule names, and nobody else', async () => {
    const { scene, at, ...here } = await opened()
    const rules =
      '- name: team\n  action: serve-stored\n  match: {repo: acme/open, caller: {network: 127.0.0.0/8}}\n'
    await writeFile(at('rules.yaml'), `policies:\n${rules.replace(/^/gm, '  ')}`)
    const done = await here.offline(
      at('hub'),
      '--config',
      at('rules.yaml'),
      '--cache-private',
      'on',
      '--whole',
    )
    expect([done.status, done.stderr, done.stdout]).toEqual([
      0,
      '',
      expect.stringContaining('whom a serve-stored rule names'),
    ])
    const open = (policies: string) =>
      scene.another({
        cacheDir: at('store'),
        config: { offline: true, cachePrivate: true, policies: policiesOf(policies) },
      })
    const target = '/acme/open/resolve/main/w.bin'
    const named = await open(rules)
    expect((await ask(named.url, target)).status).toBe(200)
    await named.close({ keepDir: true })
    expect((await ask((await open('[]')).url, target)).status).toBeGreaterThanOrEqual(400)
  })
})
