// What becomes of a download whose only reader has left, by the setting that decides it.

import { describe, expect, it } from 'vitest'
import { lfs } from '../../hub-simulator/repos.ts'
import { open } from '../../support/ask.ts'
import { eventually } from '../../support/eventually.ts'
import { openScene, type Scene } from '../../support/scene.ts'
import { metricValue } from '../../support/start-mirror.ts'

const SIZE = 20_000_000
const TARGET = '/acme/big/resolve/main/big.bin'

describe('a download whose only reader left', () => {
  const MIB = 1024 * 1024
  /** When six connections have brought a MiB each, one byte more is missing of it than a download fetches without readers. */
  const MUCH = 6 * MIB + 256_000_001

  /** Lets the only reader leave while each connection has brought a MiB, and waits until the mirror knows. */
  async function abandon(pull: {
    readonly pullAbandoned: 'auto' | 'finish' | 'stop'
    readonly sizeBytes: number
    readonly connections: number
  }): Promise<Scene> {
    const { pullAbandoned, sizeBytes, connections } = pull
    const scene = await openScene({ config: { pullAbandoned } })
    scene.world.model('acme/big').commit({ 'big.bin': lfs({ sizeBytes, seed: 42 }) })
    const { faults, ledger } = scene.hub
    faults.add({ where: 'cdn', stallAfterBytes: MIB, times: connections })
    const leaver = await open(scene.mirror.url, TARGET)
    leaver.on('error', () => undefined)
    // Otherwise its buffers fill, and the mirror does not notice that it leaves.
    leaver.resume()
    await faults.whenStalled(connections)
    await eventually(
      async () => metricValue(await scene.mirror.metrics(), 'hubmirror_cache_size_bytes') ?? 0,
      (bytes) => bytes >= connections * MIB,
    )
    leaver.destroy()
    await eventually(
      () => scene.mirror.logLines('"route":"file"').length,
      (lines) => lines === 1,
    )
    expect(ledger.bytes('cdn')).toBe(connections * MIB)
    return scene
  }

  it('is stopped if the setting says so, though little is missing, and keeps its bytes', async () => {
    const scene = await abandon({ pullAbandoned: 'stop', sizeBytes: SIZE, connections: 2 })
    await scene.settled()
    const { ledger } = scene.hub
    const ended = await ledger.whenDone({ server: 'cdn' }, 2)
    expect(ended.map(({ aborted }) => aborted)).toEqual([true, true])
    const got = await scene.ask(TARGET)
    expect([got.headers['x-cache'], got.body.equals(scene.bytes('acme/big', 'big.bin'))]).toEqual([
      'PARTIAL',
      true,
    ])
    expect(ledger.bytes('cdn')).toBe(SIZE)
  })

  it('ends by itself if much is missing, and keeps its bytes', async () => {
    const scene = await abandon({ pullAbandoned: 'auto', sizeBytes: MUCH, connections: 6 })
    await scene.settled()
    expect(scene.hub.ledger.bytes('cdn')).toBe(6 * MIB)
    const kept = await scene.ask(TARGET, { headers: { range: `bytes=0-${MIB - 1}` } })
    expect([kept.status, kept.body.length]).toEqual([206, MIB])
    expect(scene.hub.ledger.bytes('cdn')).toBe(6 * MIB)
  })

  it('is finished if the setting says so, though much is missing', async () => {
    const scene = await abandon({ pullAbandoned: 'finish', sizeBytes: MUCH, connections: 6 })
    scene.hub.faults.release()
    await scene.settled()
    expect(scene.hub.ledger.bytes('cdn')).toBe(MUCH)
    scene.hub.ledger.clear()
    const got = await scene.ask(TARGET, { headers: { range: `bytes=${MUCH - 100}-` } })
    expect([got.status, got.headers['x-cache'], got.body.length]).toEqual([206, 'HIT', 100])
    expect(scene.hub.ledger.requests()).toEqual([])
  })
})
