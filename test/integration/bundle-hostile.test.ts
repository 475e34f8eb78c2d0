// Loading bundles that were not made by hubmirror: what is refused, in which words, and that nothing of it becomes readable.

import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { IntakeClient } from '../../src/commands/bundle/intake-client.ts'
import { loadBundle } from '../../src/commands/bundle/load.ts'
import { openBundle } from '../../src/commands/bundle/read.ts'
import { tarEnd } from '../../src/commands/bundle/tar.ts'
import { DiskFacts } from '../../src/store/facts/facts.ts'
import { ask } from '../support/ask.ts'
import { brought, bundleOf, COMMIT, digest, type Members, type Row } from '../support/made-bundles.ts'
import { policiesOf } from '../support/policies.ts'
import { openBeside } from '../support/prefetch.ts'

const BYTES = Buffer.from('weights of a model\n'.repeat(20_000))
const SHA256 = digest(BYTES)
const API = '/api/models/acme/brought'
const { repo, ref, file, blob, info, rows: ROWS, members: MEMBERS } = brought(BYTES)

async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 60_000)
    yield await Promise.resolve(bytes.subarray(at, at + 60_000))
}

const { signal } = new AbortController()

async function load(socket: string, bundle: Buffer) {
  const client = new IntakeClient(socket, signal)
  return loadBundle(await openBundle(inPieces(bundle)), { client, signal, say() {} })
}

const changed = (row: Row, change: Row): readonly Row[] =>
  ROWS.map((one) => (one === row ? { ...one, ...change } : one))
const wrong = Buffer.from(BYTES)
wrong[5] = 0

const HOSTILE: readonly (readonly [string, Buffer, string])[] = [
  ['bytes that have another digest', bundleOf(ROWS, [[MEMBERS[0]![0], wrong], MEMBERS[1]!]), 'digest'],
  [
    'fewer bytes than the manifest says',
    bundleOf(ROWS, [[MEMBERS[0]![0], BYTES.subarray(9)], MEMBERS[1]!]),
    'another size',
  ],
  ['a member twice', bundleOf(ROWS, [MEMBERS[0]!, MEMBERS[0]!, MEMBERS[1]!]), 'twice'],
  [
    'a member that the manifest does not name',
    bundleOf(ROWS, [...MEMBERS, ['blobs/sha256/aa', BYTES]]),
    'does not name',
  ],
  ['a member that is missing', bundleOf(ROWS, [MEMBERS[0]!]), 'is missing'],
  [
    'a manifest with another digest',
    bundleOf(ROWS, MEMBERS, { sha256: SHA256 }),
    'manifest.jsonl is damaged',
  ],
  [
    'a manifest without a limit',
    bundleOf(ROWS, MEMBERS, { sizeBytes: 2 ** 40 }),
    'larger than this version reads',
  ],
  ['another format', bundleOf(ROWS, MEMBERS, { format: 'hubmirror bundle 2' }), 'format'],
  ['a path that leads upwards', bundleOf(changed(file, { path: '../w.bin' }), MEMBERS), 'line 3'],
  ['a key that is no digest', bundleOf(changed(blob, { key: 'sha256:../../x' }), MEMBERS), 'line 4'],
  ['an etag of another file', bundleOf(changed(file, { etag: 'a'.repeat(64) }), MEMBERS), 'line 3'],
  ['a header in a type', bundleOf(changed(file, { contentType: 'a/b\r\nset-cookie: x' }), MEMBERS), 'line 3'],
  ['a revision that leads upwards', bundleOf(changed(ref, { revision: 'a/../b' }), MEMBERS), 'line 2'],
  ['a ref named as a commit', bundleOf(changed(ref, { revision: 'a'.repeat(40) }), MEMBERS), 'line 2'],
  ['a repo that is none', bundleOf(changed(repo, { repo: 'models/../x' }), MEMBERS), 'line 1'],
  ['a file of no repo', bundleOf(changed(file, { repo: 'models/acme/other' }), MEMBERS), 'line 3'],
  ['an empty file with the digest of another', bundleOf(changed(file, { sizeBytes: 0 }), MEMBERS), 'line 3'],
  ['a blob of another size', bundleOf(changed(blob, { sizeBytes: 1 }), MEMBERS), 'right size'],
  [
    'an answer about another repo',
    bundleOf(changed(info, { target: `/api/models/acme/open/revision/${COMMIT}` }), MEMBERS),
    'no answer about',
  ],
  [
    'an answer that is not about a commit',
    bundleOf(changed(info, { target: '/api/whoami-v2' }), MEMBERS),
    'no answer about',
  ],
  [
    'a second size for one document',
    bundleOf([...ROWS, { ...info, target: `${API}/refs`, sizeBytes: 1 }], MEMBERS),
    'line 6 of manifest.jsonl is wrong: a line before it gives another size',
  ],
  [
    'a document that fills the disk by many names',
    bundleOf(
      ROWS.concat(
        Array.from({ length: 6 }, (_, page) => ({
          ...info,
          target: `${API}/tree/${COMMIT}?cursor=${page}`,
          sha256: SHA256,
          sizeBytes: 64 * 1024 * 1024,
        })),
      ),
      MEMBERS,
    ),
    'line 11 of manifest.jsonl is wrong: documents that several lines name',
  ],
  ['a member that ends early', bundleOf(ROWS, MEMBERS).subarray(0, 100_000), 'cut short'],
]

describe('loading a bundle', () => {
  it('refuses what is not as its manifest and its digests say, and shows nothing of it', async () => {
    const { mirror, socket } = await openBeside({ config: { offline: true } })
    for (const [what, bundle, why] of HOSTILE) {
      await expect(load(socket, bundle), what).rejects.toThrow(why)
      expect([what, (await ask(mirror.url, '/acme/brought/resolve/main/w.bin')).status]).toEqual([what, 404])
    }
    const report = await load(socket, bundleOf(ROWS, MEMBERS))
    expect(report).toMatchObject({ publicRepos: ['acme/brought'], files: 1, leftOut: [] })
    expect((await ask(mirror.url, '/acme/brought/resolve/main/w.bin')).body.equals(BYTES)).toBe(true)
    const again = await load(socket, bundleOf(ROWS, MEMBERS))
    expect(again.fetched.count).toBe(0)
  })

  it('says at once that there is no space for a large file', async () => {
    const { socket } = await openBeside({ config: { offline: true, cacheMaxSizeBytes: 4_000_000 } })
    const large = Buffer.alloc(24_000_000, 'x')
    const key = `sha256:${digest(large)}`
    const rows = ROWS.map((row) => {
      if (row === file) return { ...row, key, etag: digest(large), sizeBytes: large.length }
      return row === blob ? { ...row, key, sizeBytes: large.length } : row
    })
    const members: Members = [[`blobs/sha256/${digest(large)}`, large], MEMBERS[1]!]
    await expect(load(socket, bundleOf(rows, members))).rejects.toThrow('no space')
  })

  it('takes nothing from clients, and no public repo of which the Hub says that it is private', async () => {
    const { mirror, socket, clock } = await openBeside()
    for (const action of ['standing', 'blob', 'finish']) {
      const reply = await ask(mirror.url, `/-/intake/${action}`, { method: 'POST', body: '{}' })
      expect(reply.status).toBe(404)
    }
    expect((await ask(mirror.url, '/acme/secret/resolve/main/w.bin', { method: 'HEAD' })).status).toBe(401)
    const secret = (text: unknown): unknown =>
      typeof text === 'string' ? text.replace('acme/brought', 'acme/secret') : text
    const rows = ROWS.map((row) => ({ ...row, repo: secret(row['repo']), target: secret(row['target']) }))
    for (const ms of [0, 3_600_000]) {
      // A refusal counts, however long ago it was.
      clock.advance(ms)
      const report = await load(socket, bundleOf(rows, MEMBERS))
      expect([report.publicRepos, report.leftOut]).toEqual([
        [],
        [{ name: 'acme/secret', standing: 'restricted' }],
      ])
    }
  })

  const rule = (network: string) =>
    policiesOf(
      `- {name: gap, action: serve-stored, match: {repo: acme/brought, caller: {network: ${network}}}}`,
    )
  const restricted = (members: Members): Buffer => bundleOf(changed(repo, { isPublic: false }), members)

  it('closes a repo that was public before to all callers whom no rule names', async () => {
    const config = { offline: true, cachePrivate: true, policies: rule('10.0.0.0/8') }
    const { mirror, socket } = await openBeside({ config })
    await load(socket, bundleOf(ROWS, MEMBERS))
    expect((await ask(mirror.url, '/acme/brought/resolve/main/w.bin')).status).toBe(200)
    const report = await load(socket, restricted(MEMBERS))
    expect([report.publicRepos, report.ruledRepos]).toEqual([[], ['acme/brought']])
    for (const target of ['/acme/brought/resolve/main/w.bin', `${API}/revision/${COMMIT}`])
      expect([target, (await ask(mirror.url, target)).status]).not.toEqual([target, 200])
  })

  it('shows a restricted repo to those whom a rule names when all of it is there, and not before', async () => {
    const config = { offline: true, cachePrivate: true, policies: rule('127.0.0.0/8') }
    const { mirror, socket } = await openBeside({ config })
    const info = `${API}/revision/${COMMIT}`
    const broken = restricted([MEMBERS[1]!, [MEMBERS[0]![0], wrong]])
    await expect(load(socket, broken)).rejects.toThrow('digest')
    expect((await ask(mirror.url, info)).status).toBe(404)
    await load(socket, restricted(MEMBERS))
    expect((await ask(mirror.url, info)).status).toBe(200)
    expect((await ask(mirror.url, '/acme/brought/resolve/main/w.bin')).body.equals(BYTES)).toBe(true)
  })
})

/** The rows of a repo that has the file and nothing else. */
function rowsOf(id: string, isPublic = true): readonly Row[] {
  const key = `models/${id}`
  return [{ ...repo, repo: key, isPublic }, ...[ref, file].map((row) => ({ ...row, repo: key }))]
}

describe('a bundle of many repos', () => {
  /** Which rows the command reads, and what it asks of the mirror. */
  async function loadCounted(repos: number) {
    const { socket } = await openBeside({ config: { offline: true } })
    const keys = vi.spyOn(DiskFacts.prototype, 'keys')
    const ids = Array.from({ length: repos }, (_, index) => `acme/r${index}`)
    const paths = Array.from({ length: 24 / repos }, (_, index) => `${index}.bin`)
    const files = ids.flatMap((id) => paths.map((path) => ({ ...file, repo: `models/${id}`, path })))
    const rest = ids.flatMap((id) => rowsOf(id).filter(({ kind }) => kind !== 'file'))
    const bundle = await openBundle(inPieces(bundleOf([...rest, ...files, blob], [MEMBERS[0]!])))
    let reads = 0
    const counted = bundle.manifest.files.map((row) => ({
      ...row,
      get repo() {
        reads += 1
        return row.repo
      },
    }))
    const client = new IntakeClient(socket, signal)
    const asked = vi.spyOn(client, 'ask')
    const manifest = { ...bundle.manifest, files: counted }
    const report = await loadBundle({ ...bundle, manifest }, { client, signal, say() {} })
    expect([report.publicRepos, report.files]).toEqual([ids, 24])
    const finishes = asked.mock.calls.filter(([action]) => action === 'finish')
    const scans = keys.mock.calls.length
    keys.mockRestore()
    return { reads, finishes: finishes.length, scans }
  }

  it('is finished by one request, for which the mirror reads its keys once and the command its rows once', async () => {
    const few = await loadCounted(1)
    const many = await loadCounted(24)
    expect(many).toEqual(few)
    expect([many.finishes, many.scans]).toEqual([1, 1])
  })

  it('is finished by several requests if one would be too large', async () => {
    const { mirror, socket } = await openBeside({ config: { offline: true } })
    // 390 kB each.
    const licence = Array.from({ length: 99 }, () => 'x'.repeat(4_000))
    const ids = Array.from({ length: 12 }, (_, index) => `acme/r${index}`)
    const rows = ids
      .flatMap((id) => rowsOf(id))
      .map((row) => (row['kind'] === 'repo' ? { ...row, licence } : row))
      .concat(blob)
    const bundle = await openBundle(inPieces(bundleOf(rows, [MEMBERS[0]!])))
    const client = new IntakeClient(socket, signal)
    const asked = vi.spyOn(client, 'ask')
    await loadBundle(bundle, { client, signal, say() {} })
    expect(asked.mock.calls.filter(([action]) => action === 'finish').length).toBe(2)
    for (const id of ids) expect((await ask(mirror.url, `/${id}/resolve/main/w.bin`)).status).toBe(200)
  })

  /** An offline mirror that has answers about the main branches of two repos, and the tag of one. */
  async function openAsked() {
    const scene = await openBeside()
    const targets = ['acme/open/revision/main', 'acme/open/revision/v1', 'acme/odd/revision/main']
    for (const target of targets) expect((await scene.ask(`/api/models/${target}`)).status).toBe(200)
    const tagged = scene.commit('acme/open', 'v1')
    await scene.restart({ offline: true })
    const shaOf = async (target: string): Promise<unknown> => {
      const { status, body } = await scene.ask(`/api/models/${target}`)
      return status === 200 ? (JSON.parse(body.toString()) as { sha: unknown }).sha : status
    }
    const shas = (): Promise<readonly unknown[]> => Promise.all(targets.map(shaOf))
    return { scene, tagged, shas, socket: await scene.mirror.app.openControl() }
  }

  it('ends the stored answers about each branch that it moves, and about no other', async () => {
    const { scene, tagged, shas, socket } = await openAsked()
    const before = [scene.commit('acme/open'), tagged, scene.commit('acme/odd')]
    expect(await shas()).toEqual(before)
    await load(socket, bundleOf([...rowsOf('acme/open'), ...rowsOf('acme/odd'), blob], [MEMBERS[0]!]))
    // The bundle has no info of the new commit.
    expect(await shas()).toEqual([404, tagged, 404])
  })

  it('ends them also if a later repo of the request is refused, which is named', async () => {
    const { scene, tagged, shas, socket } = await openAsked()
    const client = new IntakeClient(socket, signal)
    const refs = [{ revision: 'main', commit: COMMIT }]
    const repos = ['acme/open', 'acme/secret'].map((id) => ({
      repo: { repo: `models/${id}`, isPublic: id === 'acme/open' },
      refs,
    }))
    await expect(client.ask('finish', { repos })).rejects.toThrow('may not keep acme/secret any more')
    expect(await shas()).toEqual([404, tagged, scene.commit('acme/odd')])
  })

  it('ends any number of them, a thousand at once', async () => {
    const { socket } = await openAsked()
    const keys = vi.spyOn(DiskFacts.prototype, 'keys').mockImplementation(async function* (_kind, prefix) {
      for (let index = 0; index < 2_500; index += 1)
        yield await Promise.resolve(`${prefix}GET /api/models/acme/open/revision/main?n=${index}`)
    })
    let [running, most] = [0, 0]
    const remove = vi.spyOn(DiskFacts.prototype, 'remove').mockImplementation(async () => {
      running += 1
      most = Math.max(most, running)
      await Promise.resolve()
      running -= 1
    })
    onTestFinished(() => {
      keys.mockRestore()
      remove.mockRestore()
    })
    await load(socket, bundleOf([...rowsOf('acme/open'), blob], [MEMBERS[0]!]))
    expect([new Set(remove.mock.calls.map(([, key]) => key)).size, most]).toEqual([2_500, 1_000])
  })
})

describe('a list of refs in a bundle', () => {
  const REFS = Buffer.from(
    JSON.stringify({ branches: [{ name: 'main', ref: 'refs/heads/main', targetCommit: COMMIT }], tags: [] }),
  )
  // It says that it is about a commit, and it is not.
  const list: Row = {
    ...info,
    target: `${API}/refs?include_prs=true`,
    sha256: digest(REFS),
    sizeBytes: REFS.length,
  }
  const named: Members[number] = [`documents/${digest(REFS)}`, REFS]
  const rows = [...ROWS, list]

  /** A public repo of which an offline mirror knows a commit, and no branch. */
  async function openKnown() {
    const { mirror, socket } = await openBeside({ config: { offline: true } })
    const known = { ...file, commit: 'd'.repeat(40), path: 'old.bin' }
    await load(socket, bundleOf([repo, known, blob], [MEMBERS[0]!]))
    const targets = ['/acme/brought/resolve/main/w.bin', `${API}/refs`, `${API}/revision/main`]
    const statuses = () => Promise.all(targets.map(async (target) => (await ask(mirror.url, target)).status))
    expect((await ask(mirror.url, `/acme/brought/resolve/${known.commit}/old.bin`)).status).toBe(200)
    return { mirror, socket, statuses }
  }

  it('shows no commit before all of its files are there', async () => {
    const { mirror, socket, statuses } = await openKnown()
    const before = await statuses()
    expect(before).not.toContain(200)
    const start = bundleOf(rows, [named]).length - tarEnd().length
    const whole = bundleOf(rows, [named, MEMBERS[1]!, MEMBERS[0]!])
    let during: readonly number[] | undefined
    const source = async function* (): AsyncGenerator<Buffer> {
      yield whole.subarray(0, start)
      // The command wants more: it has dealt with the list.
      during = await statuses()
      yield whole.subarray(start)
    }
    const client = new IntakeClient(socket, signal)
    const sent = vi.spyOn(client, 'send')
    await loadBundle(await openBundle(source()), { client, signal, say() {} })
    expect(during).toEqual(before)
    expect(await statuses()).toEqual([200, 200, 200])
    const refs = JSON.parse((await ask(mirror.url, `${API}/refs?include_prs=true`)).body.toString()) as object
    expect(refs).toMatchObject({ branches: [{ name: 'main', targetCommit: COMMIT }] })
    expect(sent.mock.calls.filter(([action]) => action === 'document').length).toBe(2)
  })

  it('is not kept of a bundle that was cut short', async () => {
    const { socket, statuses } = await openKnown()
    const before = await statuses()
    await expect(load(socket, bundleOf(rows, [named, MEMBERS[1]!]))).rejects.toThrow('is missing')
    expect(await statuses()).toEqual(before)
  })
})
