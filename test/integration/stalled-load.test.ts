// A load whose medium stalls in the middle of a file, while clients ask for that file.

import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { IntakeClient } from '../../src/commands/bundle/intake-client.ts'
import { loadBundle } from '../../src/commands/bundle/load.ts'
import { openBundle } from '../../src/commands/bundle/read.ts'
import { ask } from '../support/ask.ts'
import { eventually } from '../support/eventually.ts'
import { brought, bundleOf } from '../support/made-bundles.ts'
import { openBeside } from '../support/prefetch.ts'

const FILE = '/acme/open/resolve/main/w.bin'

/** Begins to load the bytes of a file of the Hub as those of another repo. They stop in the middle until `goOn`. */
async function openStalled() {
  const scene = await openBeside()
  const bytes = scene.bytes('acme/open', 'w.bin')
  const { rows, members } = brought(bytes)
  const bundle = bundleOf(rows, members)
  const middle = bundle.indexOf(bytes) + Math.floor(bytes.length / 2)
  let goOn = (): void => undefined
  const going = new Promise<void>((resolve) => {
    goOn = resolve
  })
  async function* pieces() {
    yield bundle.subarray(0, middle)
    await going
    yield bundle.subarray(middle)
  }
  const { signal } = new AbortController()
  const client = new IntakeClient(scene.socket, signal)
  const loading = loadBundle(await openBundle(pieces()), { client, signal, say() {} })
  loading.catch(() => undefined)
  await eventually(
    () => scene.mirror.app.storeStatus().reservedBytes,
    (reserved) => reserved > 0,
  )
  return { scene, bytes, loading, goOn }
}

it('gives a client the bytes of the Hub, and stores those of the load', async () => {
  const { scene, bytes, loading, goOn } = await openStalled()
  const { mirror, hub } = scene
  const [first, second] = await Promise.all([ask(mirror.url, FILE), ask(mirror.url, FILE)])
  for (const { status, body } of [first, second]) expect([status, body.equals(bytes)]).toEqual([200, true])
  goOn()
  expect(await loading).toMatchObject({ publicRepos: ['acme/brought'], leftOut: [] })
  hub.ledger.clear()
  expect((await ask(mirror.url, FILE)).body.equals(bytes)).toBe(true)
  expect(hub.ledger.requests({ server: 'cdn' })).toEqual([])
})

it('does not keep the mirror from closing', async () => {
  const { scene, loading, goOn } = await openStalled()
  await scene.mirror.close({ busy: true })
  goOn()
  await expect(loading).rejects.toThrow(/the mirror has stopped|running mirror/)
})

it('a command that waits for another load of the same file is noticed to have left', async () => {
  const { scene, bytes, loading, goOn } = await openStalled()
  // The status of a request whose client has left.
  const left = () => scene.mirror.logLines('"status":499').length
  const key = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  const leave = async (): Promise<number> => {
    const leaving = new AbortController()
    const client = new IntakeClient(scene.socket, leaving.signal)
    // More than the connection holds, so that the end of it cannot be read.
    const waiting = client.send('blob', { key, sizeBytes: bytes.length }, [bytes])
    waiting.catch(() => undefined)
    // On a slow machine the request has not arrived by then, and the next one has.
    await delay(100)
    leaving.abort(new Error('Ctrl-C'))
    await expect(waiting).rejects.toThrow('Ctrl-C')
    return left()
  }
  await eventually(leave, (count) => count > 0)
  goOn()
  await loading
})
