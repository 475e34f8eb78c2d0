// transformers loads a small model through the mirror, in the two generations in the field.

import { expect, it } from 'vitest'
import { python } from './support/python.ts'
import { expectManners, useScene } from './support/scene.ts'
import { describeClient, pythonOf } from './support/tools.ts'
import { clientWorld } from './support/world.ts'

describeClient('transformers 5', [pythonOf('transformers')], () => {
  const scene = useScene(clientWorld)

  it('loads configuration, tokenizer and weights, and treats absent files as absent', async () => {
    const { hub } = scene()
    const load = () => python(scene(), 'transformers', 'transformers_5.py', ['acme/bert'])
    const loaded = {
      modelType: 'bert',
      tokens: 4,
      finite: true,
      tensors: 39,
      hasConfig: true,
      hasPickle: false,
      optional: null,
    }
    expect(await load()).toEqual(loaded)
    hub.ledger.clear()
    expect(await load()).toEqual(loaded)
    expect(hub.ledger.bodyRequests()).toEqual([])
    expectManners(hub)
  })

  it('loads a stored model while the Hub cannot be reached', async () => {
    const { hub } = scene()
    const load = () => python(scene(), 'transformers', 'transformers_5.py', ['acme/bert'])
    const loaded = await load()
    await hub.stop()
    expect(await load()).toEqual(loaded)
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
