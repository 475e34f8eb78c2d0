// The file behind cached ranges: it stays open for a moment only, and none of its bytes is sent once it has gone.

import { readFile, stat, unlink } from 'node:fs/promises'
import { Agent, get, type IncomingMessage } from 'node:http'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { BlockSums } from '../../src/store/blobs/block-sums.ts'
import { OpenFile } from '../../src/store/blobs/open-files.ts'
import { quarantineBlob } from '../../src/store/blobs/quarantine.ts'
import { createLayout } from '../../src/store/layout.ts'
import { lfs } from '../hub-simulator/repos.ts'
import { cutShort, flipBit } from '../support/damage.ts'
import { eventually } from '../support/eventually.ts'
import { openFilesBelow } from '../support/fd.ts'
import { BRANCH, heldRead, KIB, rangeScene, SIZE } from '../support/range-scene.ts'
import { metricValue } from '../support/start-mirror.ts'

describe('a file that is open for ranges', () => {
  it('is closed soon after the last of them', async () => {
    const scene = await rangeScene()
    await scene.warmPart(0, 9)
    await scene.closed()
    await scene.warmPart(10, 19)
  })

  it('is closed when it is evicted, and the next range makes the mirror fetch it again', async () => {
    const scene = await rangeScene({ cacheMaxSizeBytes: SIZE + 600_000 })
    scene.world.model('acme/other').commit({ 'o.bin': lfs({ sizeBytes: 1_100_000, seed: 3 }) })
    await scene.warmPart(0, 9)
    expect((await scene.ask('/acme/other/resolve/main/o.bin')).status).toBe(200)
    await scene.settled()
    expect(await scene.stays()).toBe(false)
    expect((await openFilesBelow(scene.mirror.cacheDir)).filter((name) => name.includes('deleted'))).toEqual(
      [],
    )
    scene.hub.ledger.clear()
    const again = await scene.asks(BRANCH, scene.part(100, 199))
    expect([again.status, again.body.equals(scene.bytes.subarray(100, 200))]).toEqual([206, true])
    expect(scene.hub.ledger.bodyRequests()).not.toEqual([])
  })

  it('is not evicted while it is read', async () => {
    const scene = await rangeScene({ cacheMaxSizeBytes: SIZE + 600_000 })
    scene.world.model('acme/other').commit({ 'o.bin': lfs({ sizeBytes: 1_100_000, seed: 3 }) })
    await scene.warmPart(0, 9)
    const { begun, release } = heldRead()
    const reading = scene.ask(BRANCH, scene.part(500_000, 500_009))
    await begun
    const other = await scene.ask('/acme/other/resolve/main/o.bin')
    expect([other.status, other.body.length]).toEqual([200, 1_100_000])
    expect(await scene.stays()).toBe(true)
    release()
    expect((await reading).body).toEqual(scene.bytes.subarray(500_000, 500_010))
  })

  it.each(['removed', 'quarantined'])(
    'that another process has %s gives its space back and is fetched again',
    async (how) => {
      const scene = await rangeScene()
      await scene.warmPart(0, 9)
      const layout = createLayout(scene.mirror.cacheDir)
      if (how === 'removed') await unlink(scene.blob)
      else expect(await quarantineBlob(layout, scene.key, (await stat(scene.blob)).ino)).toBe('quarantined')
      scene.hub.ledger.clear()
      // There is always a reader.
      await eventually(
        async () => {
          const reply = await scene.ask(BRANCH, scene.part(7, 99))
          expect([reply.status, reply.body.equals(scene.bytes.subarray(7, 100))]).toEqual([206, true])
          const open = await openFilesBelow(scene.mirror.cacheDir)
          return (
            open.filter((name) => /deleted|quarantine/.test(name)).length +
            (scene.hub.ledger.bodyRequests().length === 0 ? 1 : 0)
          )
        },
        (left) => left === 0,
      )
      await scene.ask(BRANCH)
      await scene.settled()
      expect((await readFile(scene.blob)).equals(scene.bytes)).toBe(true)
      await scene.warmPart(0, 9)
    },
  )

  it('and has become shorter is fetched again, and no client sees it', async () => {
    const scene = await rangeScene()
    await scene.warmPart(0, 9)
    await cutShort(scene.blob, 900_050)
    const reply = await scene.ask(BRANCH, scene.part(900_000, 900_099))
    expect([reply.status, reply.body.equals(scene.bytes.subarray(900_000, 900_100))]).toEqual([206, true])
    await scene.ask(BRANCH)
    await scene.settled()
    expect((await readFile(scene.blob)).equals(scene.bytes)).toBe(true)
  })

  it('and was lost by the disk is counted once, removed, and fetched again', async () => {
    const scene = await rangeScene()
    await scene.warmPart(0, 99)
    const before = await scene.failures()
    const reading = vi.spyOn(OpenFile.prototype, 'read')
    onTestFinished(() => reading.mockRestore())
    reading.mockRejectedValueOnce(Object.assign(new Error('lost'), { code: 'EIO', syscall: 'read' }))
    const headers = { range: 'bytes=500000-500099', 'x-request-id': 'lost-1' }
    const reply = await scene.ask(BRANCH, { headers })
    expect([reply.status, reply.body.equals(scene.bytes.subarray(500_000, 500_100))]).toEqual([206, true])
    expect(await scene.failures()).toBe(before + 1)
    expect(scene.mirror.logLines('lost-1').filter((line) => line.includes('"request"'))).toHaveLength(1)
    await scene.ask(BRANCH)
    await scene.settled()
    expect(await scene.stays()).toBe(true)
    await scene.closed()
  })

  it('and was changed by the disk since the last read reaches no client if reads are checked', async () => {
    const scene = await rangeScene({ checkReadsMs: 0 })
    await scene.warmPart(0, 9)
    await flipBit(scene.blob, 100_000)
    scene.hub.ledger.clear()
    // Another part of the block, and of an open file.
    const reply = await scene.asks(BRANCH, scene.part(0, 9))
    expect([reply.status, reply.body.equals(scene.bytes.subarray(0, 10))]).toEqual([206, true])
    expect([reply.cached, reply.headers['x-cache']]).toEqual([false, 'MISS'])
    expect(scene.hub.ledger.bytes('cdn')).toBe(256 * KIB)
    const metrics = await scene.mirror.metrics()
    expect(metricValue(metrics, 'hubmirror_integrity_failures_total{kind="disk"}')).toBe(1)
    expect(await scene.stays()).toBe(false)
  })

  it('is trusted for a while after it was checked', async () => {
    const scene = await rangeScene({ checkReadsMs: 3_600_000, refTtlMs: 7_200_000, accessTtlMs: 7_200_000 })
    await scene.warmPart(0, 9)
    const reading = vi.spyOn(BlockSums.prototype, 'has')
    onTestFinished(() => reading.mockRestore())
    for (let times = 0; times < 5; times += 1) await scene.warmPart(0, 9)
    expect(reading).not.toHaveBeenCalled()
    scene.clock.advance(3_600_000)
    await scene.warmPart(0, 9)
    expect(reading).toHaveBeenCalled()
  })

  it('is released when the client disconnects during a read, and the log says that the client left', async () => {
    const scene = await rangeScene()
    await scene.warmPart(0, 9)
    const { begun, release } = heldRead()
    const agent = new Agent({ keepAlive: true })
    onTestFinished(() => agent.destroy())
    const headers = { range: 'bytes=500000-500009', 'x-request-id': 'left-1' }
    const asking = get(`${scene.mirror.url}${BRANCH}`, { headers, agent })
    const answered: IncomingMessage[] = []
    asking.on('response', (message) => answered.push(message))
    asking.on('error', () => undefined)
    await begun
    asking.destroy()
    // The mirror has noticed it when only the connection of this request is left.
    await eventually(
      () => connections(scene.mirror.app),
      (count) => count === 0,
    )
    release()
    const [line = ''] = await eventually(
      () => scene.mirror.logLines('left-1'),
      (lines) => lines.length > 0,
    )
    expect(JSON.parse(line)).toMatchObject({ status: 499, bytes: 0, outcome: 'hit', route: 'file' })
    expect(answered).toEqual([])
    await scene.closed()
    expect(scene.mirror.logLines('left-1')).toHaveLength(1)
  })
})

function connections(app: {
  readonly server: {
    readonly server: { getConnections(done: (error: Error | null, count: number) => void): unknown }
  }
}): Promise<number> {
  return new Promise((resolve, reject) => {
    app.server.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)))
  })
}
