// transformers loads a small model through the mirror, in the two generations in the field.

import { join } from 'node:path'
import { expect, it } from 'vitest'
import { run } from '../support/run-cli.ts'
import { python } from './support/python.ts'
import { expectManners, useScene } from './support/scene.ts'
import { describeClient, pythonOf } from './support/tools.ts'
import { clientWorld } from './support/world.ts'

const LOADED = {
  modelType: 'bert',
  tokens: 4,
  finite: true,
  tensors: 39,
  hasConfig: true,
  hasPickle: false,
  optional: null,
}

describeClient('transformers 5', [pythonOf('transformers')], () => {
  const scene = useScene(clientWorld)
  const load = () => python(scene(), 'transformers', 'transformers_5.py', ['acme/bert'])

  it('loads configuration, tokenizer and weights, and treats absent files as absent', async () => {
    const { hub } = scene()
    expect(await load()).toEqual(LOADED)
    hub.ledger.clear()
    expect(await load()).toEqual(LOADED)
    expect(hub.ledger.bodyRequests()).toEqual([])
    expectManners(hub)
  })

  it('loads a model that was only prefetched, from a mirror that is offline', async () => {
    const { hub, mirror, restartMirror } = scene()
    const cacheDir = join(mirror.cacheDir, 'store')
    expect(await run(['prefetch', 'acme/bert'], { HUBMIRROR_CACHE_DIR: cacheDir })).toMatchObject({
      status: 0,
    })
    await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
    await hub.stop()
    expect(await load()).toEqual(LOADED)
  })
})

describeClient('transformers 4', [pythonOf('transformers-4')], () => {
  const scene = useScene(clientWorld)

  it('loads a model whole and runs it', async () => {
    const { hub } = scene()
    expect(await python(scene(), 'transformers-4', 'transformers_4.py', ['acme/bert'])).toEqual({
      shape: [1, 4, 16],
      finite: true,
    })
    expectManners(hub)
  })
})
