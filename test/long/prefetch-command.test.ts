// The work of `hubmirror prefetch`, over the control socket of a mirror. The command itself is run by test/long.

import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { reachMirror } from '../../src/commands/prefetch/reach.ts'
import { findControlSocket, prepareControlSocket } from '../../src/store/control-socket.ts'
import { eventually } from '../support/eventually.ts'
import { LARGE_BYTES, TOKENS } from '../support/mirror-world.ts'
import { only, openBeside, prefetchBy, statesOf } from '../support/prefetch.ts'
import { openScene } from '../support/scene.ts'
import { smallBlobsIn } from '../support/stored-blobs.ts'

const W_BIN = '/acme/open/resolve/main/w.bin'

describe('prefetch beside a mirror', () => {
  it('stores all files of a revision, as a client does, and fetches none twice', async () => {
    const scene = await openBeside({ hub: { pageSize: 2 } })
    const before = only(await prefetchBy(scene.socket, ['acme/open'], { dryRun: true }))
    expect(statesOf(before)).toEqual({
      'README.md': 'absent',
      'config.json': 'absent',
      'empty.txt': 'stored',
      'nested/deeper/vocab.txt': 'absent',
      'w.bin': 'absent',
    })
    expect(scene.hub.ledger.bodyRequests()).toEqual([])

    const positions: number[] = []
    const file = (name: string) => ({
      at: (bytes: number) => void (name === 'acme/open/w.bin' && positions.push(bytes)),
      done() {},
    })
    const done = only(await prefetchBy(scene.socket, ['acme/open'], { observer: { file } }))
    expect(done.commit).toBe(scene.commit('acme/open'))
    expect(new Set(Object.values(statesOf(done)))).toEqual(new Set(['stored', 'fetched']))
    expect(positions[0]).toBeLessThan(LARGE_BYTES)
    expect(positions).toEqual(positions.toSorted((a, b) => a - b))

    const fetched = scene.hub.ledger.bodyRequests().length
    const again = only(await prefetchBy(scene.socket, ['acme/open']))
    expect(new Set(Object.values(statesOf(again)))).toEqual(new Set(['stored']))
    const reply = await scene.ask(W_BIN)
    expect([reply.headers['x-cache'], reply.body.equals(scene.bytes('acme/open', 'w.bin'))]).toEqual([
      'HIT',
      true,
    ])
    expect(scene.hub.ledger.bodyRequests().length).toBe(fetched)
    await scene.restart({ offline: true })
    expect((await scene.ask('/acme/open/resolve/main/nested/deeper/vocab.txt')).status).toBe(200)
  })

  it('joins the download of a client', async () => {
    const scene = await openBeside()
    scene.hub.faults.add({ where: 'cdn', stallAfterBytes: 0.9 * LARGE_BYTES })
    const client = scene.ask(W_BIN)
    await scene.hub.faults.whenStalled()
    // A dry run counts what has arrived.
    const { files } = await eventually(
      async () => only(await prefetchBy(scene.socket, ['acme/open'], { include: ['w.bin'], dryRun: true })),
      (looked) => (looked.files[0]?.presentBytes ?? 0) > 0,
    )
    expect(files).toMatchObject([{ path: 'w.bin', state: 'absent', sizeBytes: LARGE_BYTES }])
    expect(files[0]?.presentBytes).toBeLessThanOrEqual(0.9 * LARGE_BYTES)
    const job = prefetchBy(scene.socket, ['acme/open'], { include: ['w.bin'] })
    await eventually(
      () => scene.mirror.pulls.joined,
      (count) => count === 1,
    )
    scene.hub.faults.release()
    expect(statesOf(only(await job))).toEqual({ 'w.bin': 'fetched' })
    expect((await client).body.length).toBe(LARGE_BYTES)
    expect(scene.hub.ledger.bytes('cdn')).toBe(LARGE_BYTES)
  })

  it('fetches what the patterns mean, of several repos and types', async () => {
    const scene = await openBeside()
    const include = ['*.json', 'data/']
    const results = await prefetchBy(
      scene.socket,
      ['acme/open@v1', 'dataset/acme/data', 'spaces/acme/demo'],
      {
        include,
        exclude: ['*.csv'],
      },
    )
    expect(results.map(statesOf)).toEqual([
      { 'config.json': 'fetched' },
      { 'data/train.parquet': 'fetched' },
      {},
    ])
    expect(results[0]?.commit).toBe(scene.commit('acme/open', 'v1'))
  })

  it('says why a repo cannot be listed, and goes on with the next one', async () => {
    const scene = await openBeside()
    const results = await prefetchBy(scene.socket, [
      'acme/none',
      'acme/open@none',
      'acme/gated',
      'dataset/acme/data',
    ])
    expect(results.map(({ error }) => error !== undefined)).toEqual([true, true, false, false])
    expect(results[1]?.error).toMatch(/rev/)
    // The info and the listing of a gated repo are public. Its files are not.
    expect(new Set(results[2]?.files.map(({ state }) => state))).toEqual(new Set(['missing']))
    expect(results[2]?.files[0]?.reason).toMatch(/gated|restricted/i)
    expect(results[3] && statesOf(results[3])).toEqual({
      'data/train.csv': 'fetched',
      'data/train.parquet': 'fetched',
    })
  })

  it.each([true, false])('stores a private repo only if the mirror may (%s)', async (cachePrivate) => {
    const scene = await openBeside({ config: { cachePrivate } })
    const token = TOKENS.alice
    const looked = only(await prefetchBy(scene.socket, ['acme/secret'], { token, dryRun: true }))
    const result = only(await prefetchBy(scene.socket, ['acme/secret'], { token }))
    if (cachePrivate) {
      expect(statesOf(looked)).toEqual({ 'config.json': 'absent', 'w.bin': 'absent' })
      expect(statesOf(result)).toEqual({ 'config.json': 'fetched', 'w.bin': 'fetched' })
      const other = only(await prefetchBy(scene.socket, ['acme/secret'], { token: TOKENS.bob }))
      expect(other.commit).toBeUndefined()
    } else {
      for (const { files } of [looked, result])
        for (const { state, reason } of files)
          expect([state, reason]).toEqual([
            'missing',
            expect.stringContaining('HUBMIRROR_CACHE_PRIVATE is off'),
          ])
      expect(await smallBlobsIn(scene.mirror.cacheDir)).toEqual(new Map())
      expect(scene.hub.ledger.bodyRequests()).toEqual([])
    }
  })

  it('ends with its command', async () => {
    const scene = await openBeside({ busy: true, config: { pullAbandoned: 'stop' } })
    scene.hub.faults.add({ where: 'cdn', stallAfterBytes: 1_000_000 })
    const command = new AbortController()
    const job = prefetchBy(scene.socket, ['acme/open'], { include: ['w.bin'], signal: command.signal })
    await scene.hub.faults.whenStalled()
    command.abort()
    await expect(job).rejects.toThrow('aborted')
    await scene.mirror.pulls.ended()
    scene.hub.faults.clear()
  })
})

describe('the control socket', () => {
  it('can be used by its owner only, and is removed with the mirror', async () => {
    const scene = await openBeside()
    const modes = [await stat(scene.socket), await stat(dirname(scene.socket))].map(
      ({ mode }) => mode & 0o777,
    )
    expect(modes).toEqual([0o600, 0o700])
    expect(await findControlSocket(scene.mirror.cacheDir)).toBe(scene.socket)
    await chmod(dirname(scene.socket), 0o755)
    await expect(findControlSocket(scene.mirror.cacheDir)).rejects.toThrow('mode 0700')
    await chmod(dirname(scene.socket), 0o700)
    await scene.mirror.close({ keepDir: true })
    expect(await findControlSocket(scene.mirror.cacheDir)).toBeUndefined()
  })

  it('lies elsewhere if the path in the store is too long, for a command that has the store open', async () => {
    const scene = await openScene()
    const cacheDir = await mkdtemp(join(tmpdir(), 'long'.repeat(25)))
    onTestFinished(() => rm(cacheDir, { recursive: true, force: true }))
    await expect(prepareControlSocket(cacheDir)).rejects.toThrow('Choose a shorter HUBMIRROR_CACHE_DIR')
    const { signal } = new AbortController()
    const config = { ...scene.mirror.config, cacheDir, auditLog: undefined }
    const reach = () => reachMirror(config, { version: '0.0.0-test', say() {}, signal })
    const before = await reach()
    await before.close()
    // As a command leaves it that was killed.
    const left = dirname(before.socketPath).replace(/.{6}$/, 'killed')
    await mkdir(left, { mode: 0o700 })
    const reached = await reach()
    expect(existsSync(left)).toBe(false)
    const result = only(await prefetchBy(reached.socketPath, ['dataset/acme/data']))
    await reached.close()
    expect(new Set(Object.values(statesOf(result)))).toEqual(new Set(['fetched']))
    expect([reached.watch, existsSync(dirname(reached.socketPath))]).toEqual([undefined, false])
  })
})
