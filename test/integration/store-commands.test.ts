import { readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { BlobKey } from '../../src/store/digest.ts'
import { eventually } from '../support/eventually.ts'
import { run as runCommand } from '../support/run-cli.ts'
import {
  COMMIT,
  type MadeStore,
  makeStore,
  ORIGIN,
  openAt,
  repoOf,
  sha256Key,
} from '../unit/store/made-store.ts'

const DAY_MS = 86_400_000

let made: MadeStore
beforeEach(async () => {
  made = await makeStore()
})
afterEach(() => made.remove())

/** Runs the command on the store. */
const run = (args: readonly string[], root = made.root) => runCommand([...args, '--cache-dir', root])
const parse = (text: string): unknown => JSON.parse(text)
/** Which of these blobs are stored. One after another: the table is opened once at a time. */
async function exist(...keys: readonly BlobKey[]): Promise<boolean[]> {
  const are: boolean[] = []
  for (const key of keys) are.push(await made.has(key))
  return are
}

describe('the audit log of the store commands', () => {
  const actsIn = async (file: string) =>
    (await readFile(file, 'utf8'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => parse(line))

  it('says which user removed what of which repo, and has no line for what was only listed', async () => {
    const file = path.join(made.root, '..', `${path.basename(made.root)}.audit`)
    await made.stored(repoOf('org/large'), 'model.bin', Buffer.alloc(2_500_000))
    await made.stored(repoOf('org/kept'), 'a', Buffer.alloc(10, 1))
    await run(['ls', '--audit-log', file])
    await run(['prune', 'org/large', '--dry-run', '--audit-log', file])
    expect((await run(['prune', 'org/large', '--audit-log', file])).status).toBe(0)
    const by = { kind: 'os-user', uid: process.getuid?.() }
    const pruned = { audit: 'act', act: 'prune', by, origin: ORIGIN, repo: 'models/org/large' }
    expect(await actsIn(file)).toMatchObject([{ ...pruned, blobs: 1, sizeBytes: 2_500_000 }])
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    const key = sha256Key(Buffer.alloc(10, 1))
    await made.blob(Buffer.from('damaged!!!'), { key })
    expect((await run(['verify', '--audit-log', file])).status).toBe(1)
    const moved = { act: 'verify', by, key, reason: 'digest', place: 'quarantined', sizeBytes: 10 }
    expect((await actsIn(file)).slice(1)).toMatchObject([moved])
    await rm(file)
  })

  it('that cannot be written stops a command before it has done anything', async () => {
    await made.stored(repoOf('org/large'), 'model.bin', Buffer.alloc(1000))
    const file = path.join(made.root, 'no', 'such', 'audit.log')
    const { status, stdout, stderr } = await run(['prune', 'org/large', '--audit-log', file])
    expect([status, stdout]).toEqual([1, ''])
    expect(stderr).toContain('cannot write the audit log')
    expect(await exist(sha256Key(Buffer.alloc(1000)))).toEqual([true])
  })
})

describe('ls', () => {
  it('lists repos while a mirror holds the store: size, last use, public or not', async () => {
    await made.stored(repoOf('org/large'), 'model.bin', Buffer.alloc(2_500_000), { ageMs: 12.5 * DAY_MS })
    await made.stored(repoOf('squad', 'dataset'), 'train.csv', Buffer.alloc(1000, 1), {
      ageMs: 3.5 * 3_600_000,
    })
    await made.known().repos.setPublic(repoOf('org/large'), true)
    await made.blob(Buffer.alloc(30_000, 2))
    const mirror = await openAt(made.root)
    try {
      const { status, stdout, stderr } = await run(['ls'])
      expect([status, stderr]).toEqual([0, ''])
      expect(stdout).toBe(
        [
          'REPO              FILES    SIZE  SHARED  UNFINISHED     USED  PUBLIC',
          'models/org/large      1  2.5 MB       -           -  12d ago  yes',
          'datasets/squad        1    1 kB       -           -   3h ago  no',
          '2 repos; in all 3 blobs, 2.53 MB; 1 blob unclaimed, 30 kB',
          '',
        ].join('\n'),
      )
    } finally {
      await mirror.close()
    }
  })

  it('prints bytes and instants for programs, and names for shells', async () => {
    await made.stored(repoOf('org/a'), 'a', Buffer.alloc(1000))
    await made.stored(repoOf('org/b'), 'b', Buffer.alloc(3000))
    await made.stored(repoOf('org/c', 'space'), 'c', Buffer.alloc(2000))
    const json = parse((await run(['ls', '--json', '--limit', '1'])).stdout)
    expect(json).toMatchObject({
      cacheDir: made.root,
      repos: [{ origin: ORIGIN, repo: 'models/org/b', public: false, files: 1, blobs: 1, sizeBytes: 3000 }],
      totals: { repos: 3, blobs: 3, sizeBytes: 6000 },
      unclaimed: { blobs: 0 },
      damagedFacts: 0,
    })
    const { usedAt } = (json as { repos: { usedAt: string }[] }).repos[0]!
    expect(Math.abs(Date.parse(usedAt) - Date.now())).toBeLessThan(60_000)
    expect((await run(['ls', 'ORG/*', '-q', '--sort', 'name'])).stdout).toBe('models/org/a\nmodels/org/b\n')
    expect((await run(['ls', 'space/org/c', '-q'])).stdout).toBe('spaces/org/c\n')
  })

  it('lists the files of a repo, and escapes characters that would move the cursor', async () => {
    await made.stored(repoOf('org/a'), 'red\u001b[31m\u202etxt.bin', Buffer.alloc(1000))
    await made.file(repoOf('org/a'), 'away.bin', sha256Key(Buffer.from('away')), 4)
    await made.stored(repoOf('org/b'), 'other.bin', Buffer.alloc(10))
    const { status, stdout } = await run(['ls', '--files', 'org/a'])
    expect(status).toBe(0)
    const lines = stdout.split('\n')
    expect(lines[1]).toMatch(/^c{12} {2}1 kB {2}yes {5}just now {2}red\\u\{1b\}\[31m\\u\{202e\}txt\.bin$/)
    expect(lines[2]).toMatch(/^c{12} {3}4 B {2}no {13}- {2}away\.bin$/)
    expect(lines[3]).toBe('2 files; 1 stored, 1 kB')
    const json = parse((await run(['ls', '--files', 'models/org/a', '--json'])).stdout)
    expect(json).toMatchObject({
      files: [{ path: 'red\u001b[31m\u202etxt.bin', commit: COMMIT }, { stored: 'no' }],
    })
    expect(await run(['ls', '--files', 'org/none'])).toMatchObject({ status: 1, stdout: '' })
  })
})

describe('prune', () => {
  it('removes a repo beside a mirror: open readers read on, soon no client finds it, and the ledger follows', async () => {
    const bytes = Buffer.alloc(3_000_000, 9)
    const key = await made.stored(repoOf('org/a'), 'a.bin', bytes)
    const shared = await made.stored(repoOf('org/a'), 'shared.bin', Buffer.from('shared'))
    await made.file(repoOf('org/b'), 'shared.bin', shared, 6)
    const mirror = await openAt(made.root)
    try {
      await mirror.scanned
      const handle = await mirror.blobs.open(key, bytes.length)
      const { status, stdout } = await run(['prune', 'org/a'])
      expect([status, stdout]).toEqual([
        0,
        '3 MB  1 blob  models/org/a\nremoved 1 blob, 3 MB; 1 blob (6 B) stays for other repos\n',
      ])
      const buffer = Buffer.alloc(bytes.length)
      expect(await handle?.read(buffer, 0, buffer.length, 0)).toBe(bytes.length)
      expect(buffer.equals(bytes)).toBe(true)
      await handle?.close()
      expect(mirror.ledger.storedBytes).toBe(bytes.length + 6)
      // The file stays open for a moment after it was opened.
      const isThere = async () => {
        const again = await mirror.blobs.open(key, bytes.length)
        await again?.close()
        return again !== undefined
      }
      await eventually(isThere, (found) => !found)
      expect(mirror.ledger.storedBytes).toBe(6)
      const still = await mirror.blobs.open(shared, 6)
      expect(still?.sizeBytes).toBe(6)
      await still?.close()
    } finally {
      await mirror.close()
    }
    expect((await run(['ls', '-q'])).stdout).toBe('models/org/b\n')
  })

  it('removes by age and by size, and nothing in a dry run', async () => {
    const old = await made.stored(repoOf('org/a'), 'old', Buffer.alloc(1000, 1), { ageMs: 40 * DAY_MS })
    const older = await made.stored(repoOf('org/b'), 'older', Buffer.alloc(2000, 2), { ageMs: 50 * DAY_MS })
    const fresh = await made.stored(repoOf('org/b'), 'fresh', Buffer.alloc(4000, 3))
    const dry = await run(['prune', '--older-than', '30d', '--dry-run', '--json'])
    expect(parse(dry.stdout)).toMatchObject({
      dryRun: true,
      removed: {
        blobs: 2,
        sizeBytes: 3000,
        repos: [
          { repo: 'models/org/b', blobs: 1, sizeBytes: 2000 },
          { repo: 'models/org/a', blobs: 1, sizeBytes: 1000 },
        ],
      },
    })
    expect(await exist(old, older, fresh)).toEqual([true, true, true])
    expect((await run(['prune', '--max-size', '5KB'])).status).toBe(0)
    expect(await exist(old, older, fresh)).toEqual([true, false, true])
    expect((await run(['prune', '--older-than', '30d'])).status).toBe(0)
    expect(await exist(old, older, fresh)).toEqual([false, false, true])
  })

  it('removes nothing if one of the repos is not known', async () => {
    const key = await made.stored(repoOf('org/a'), 'a', Buffer.from('a'))
    const { status, stdout, stderr } = await run(['prune', 'org/a', 'dataset/org/a'])
    expect([status, stdout]).toEqual([1, ''])
    expect(stderr).toContain('nothing is known of dataset/org/a; nothing was removed')
    expect(await exist(key)).toEqual([true])
  })
})

describe('verify', () => {
  it('finds a flipped bit, moves the blob away, exits 1, and exits 0 the next time', async () => {
    const key = await made.stored(repoOf('org/a'), 'a.bin', Buffer.alloc(2_000_000, 1))
    await made.stored(repoOf('org/a'), 'b.bin', Buffer.alloc(1_000_000, 2))
    await made.flipBit(key, 1_999_999)
    const { status, stdout, stderr } = await run(['verify'])
    expect(status).toBe(1)
    expect(stderr).toBe(`damaged: ${key} (2 MB) does not have the digest in its name; moved to quarantine\n`)
    expect(stdout).toBe('verified 2 blobs, 3 MB; 1 damaged\n')
    expect(await made.quarantined()).toEqual([key.replace(':', '-')])
    const again = await run(['verify', '--json'])
    expect(again.status).toBe(0)
    expect(parse(again.stdout)).toMatchObject({ finished: true, resumed: false, blobs: 1, damaged: 0 })
  })

  it('discards an unfinished blob whose map is damaged, and no other', async () => {
    const [sound, torn] = [sha256Key(Buffer.from('sound')), sha256Key(Buffer.from('torn'))]
    await made.partial(sound, 1_000_000)
    await made.partial(torn, 1_000_000)
    await truncate(path.join(made.layout.partial(torn), 'blocks'), 20)
    const { status, stderr } = await run(['verify'])
    expect(status).toBe(1)
    expect(stderr).toContain(`the map of blocks of partial ${torn}`)
    expect(stderr).not.toContain(sound)
    expect((await run(['verify', '--json'])).status).toBe(0)
    expect(await readdir(made.layout.partial(sound))).toContain('blocks')
  })

  it('begins from the start with --restart', async () => {
    const key = await made.blob(Buffer.from('a'))
    const position = { after: key, startedAt: 1, blobs: 1, sizeBytes: 1, damaged: 0, refused: 0 }
    await writeFile(path.join(made.root, 'verify.json'), JSON.stringify(position))
    await made.flipBit(key)
    expect((await run(['verify', '--restart'])).status).toBe(1)
  })
})

describe('the store commands', () => {
  it.each([
    [['prune'], 'expected a repo, --older-than, --max-size or --unclaimed'],
    [['prune', '--older-than', '30'], 'expected a time with a unit such as 90s or 5m; did you mean 30s?'],
    [['ls', 'org/a', '--files', 'org/a'], 'expected a pattern or --files, not both'],
  ])('exit 2 for %j, and say what would be right', async (args, message) => {
    const { status, stdout, stderr } = await run(args)
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
  })

  it.each([[['ls']], [['prune', '--max-size', '0B']], [['verify']]])(
    'exit 1 for %j if there is no store, and make none',
    async (args) => {
      const root = path.join(made.root, 'nothing')
      const { status, stdout, stderr } = await run(args, root)
      expect([status, stdout]).toEqual([1, ''])
      expect(stderr).toBe(
        `hubmirror: ${root} is not a store of hubmirror. Give the directory of the mirror as --cache-dir or HUBMIRROR_CACHE_DIR.\n`,
      )
      await expect(stat(root)).rejects.toThrow('ENOENT')
    },
  )
})
