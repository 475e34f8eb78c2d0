// The JavaScript clients, which ask for sizes by a range of one byte and send tokens to few hosts.

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { bytesOf } from '../hub-simulator/repos.ts'
import { runForJson } from './support/run.ts'
import { commitOf, digestsOf, expectManners, useSharedScene } from './support/scene.ts'
import { describeClient, nodeClients } from './support/tools.ts'
import { clientWorld, TOKENS } from './support/world.ts'

const ONLY_LOCALHOST = fileURLToPath(new URL('./scripts/only-localhost.mjs', import.meta.url))
const HUB_SCRIPT = fileURLToPath(new URL('./scripts/hub.mjs', import.meta.url))
const TRANSFORMERS_SCRIPT = fileURLToPath(new URL('./scripts/transformers.mjs', import.meta.url))

describeClient('@huggingface/hub', [join(nodeClients, 'node_modules/@huggingface/hub')], () => {
  const scene = useSharedScene(clientWorld)
  const ask = async (command: string, args: readonly string[] = [], token?: string) =>
    runForJson(
      process.execPath,
      ['--import', ONLY_LOCALHOST, HUB_SCRIPT, command, scene().mirror.url, ...args],
      {
        home: await scene().newHome(),
        cwd: nodeClients,
        env: token === undefined ? {} : { HF_TOKEN: token },
      },
    )

  it('lists files, page by page', async () => {
    const { hub } = scene()
    expect(await ask('list', ['acme/many'])).toEqual({
      value: Object.keys(digestsOf(hub.world, 'acme/many')).sort(),
    })
  })

  it('downloads a small file and a large one, the second time without a body from the origin', async () => {
    const { hub } = scene()
    const download = async () => {
      for (const path of ['config.json', 'model.safetensors']) {
        expect(await ask('download', ['acme/tiny', path])).toMatchObject({
          value: { sha256: digestsOf(hub.world, 'acme/tiny')[path] },
        })
      }
    }
    await download()
    hub.ledger.clear()
    await download()
    expect(hub.ledger.bodyRequests()).toEqual([])
    expectManners(hub)
  })

  it('treats an absent file as absent', async () => {
    expect(await ask('download', ['acme/tiny', 'absent.txt'])).toEqual({ value: null })
  })

  it('reads a slice', async () => {
    const slice = bytesOf(scene().hub.world.model('acme/tiny'), 'main', 'model.safetensors', 1000, 2000)
    expect(await ask('slice', ['acme/tiny', 'model.safetensors'])).toEqual({
      value: createHash('sha256').update(slice).digest('hex'),
    })
  })

  it('fills its cache directory', async () => {
    const { hub } = scene()
    expect(await ask('cached', ['acme/tiny', 'model.safetensors'])).toEqual({
      value: digestsOf(hub.world, 'acme/tiny')['model.safetensors'],
    })
    expect(await ask('snapshot', ['acme/bert'])).toEqual({
      value: { commit: commitOf(hub.world, 'acme/bert') },
    })
    expectManners(hub)
  })

  it('names the refusal of a HEAD, whichever side refuses', async () => {
    const { hub } = scene()
    expect(await ask('exists', ['acme/tiny', 'config.json'])).toEqual({ value: true })
    expect(await ask('exists', ['acme/tiny', 'absent.txt'])).toEqual({ value: false })
    expect(await ask('exists', ['acme/secret', 'config.json'])).toMatchObject({ status: 401 })
    await hub.stop()
    expect(await ask('exists', ['acme/tiny', 'other.json'])).toMatchObject({ status: 502 })
    await hub.start()
  })

  it('reads what its user may read, names that user, and is refused the rest', async () => {
    const { hub } = scene()
    const path = 'model.safetensors'
    expect(await ask('whoami', [], TOKENS.alice)).toEqual({ value: 'alice' })
    for (const repo of ['acme/secret', 'acme/gated']) {
      expect(await ask('download', [repo, path], TOKENS.alice)).toMatchObject({
        value: { sha256: digestsOf(hub.world, repo)[path] },
      })
    }
    expect(await ask('download', ['acme/secret', path])).toMatchObject({ status: 401 })
    expect(await ask('download', ['acme/secret', path], TOKENS.bob)).toMatchObject({ status: 404 })
    expect(await ask('download', ['acme/gated', path])).toMatchObject({ status: 401 })
    expect(await ask('download', ['acme/gated', path], TOKENS.bob)).toMatchObject({ status: 403 })
    expectManners(hub)
  })
})

describeClient('transformers.js', [join(nodeClients, 'node_modules/@huggingface/transformers')], () => {
  const scene = useSharedScene(clientWorld)

  it('loads configuration and tokenizer, the second time without a body from the origin', async () => {
    const { hub, mirror, newHome } = scene()
    const load = async () =>
      runForJson(
        process.execPath,
        ['--import', ONLY_LOCALHOST, TRANSFORMERS_SCRIPT, mirror.url, 'acme/bert'],
        { home: await newHome(), cwd: nodeClients },
      )
    expect(await load()).toEqual({ modelType: 'bert', tokens: 4 })
    hub.ledger.clear()
    expect(await load()).toEqual({ modelType: 'bert', tokens: 4 })
    expect(hub.ledger.bodyRequests()).toEqual([])
  })
})
