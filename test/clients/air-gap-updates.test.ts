// A bundle in parts, and a later one that builds on it, loaded beside the mirror that serves: what clients then know of the repos, and
// what `hubmirror export` makes of them. The clients are those of each family that differ most.

import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { CLIENTS } from './matrix/clients.ts'
import { expectRead } from './matrix/columns.ts'
import { type Network, openNetwork } from './matrix/network.ts'
import { canRead } from './matrix/play.ts'
import { repoOf } from './matrix/world.ts'
import { type AirGap, argumentsFor, commitMore, gapWorld, openAirGap, repoFor } from './support/air-gap.ts'
import { type Answers, expectImplied, expectUnknown } from './support/implied.ts'
import { pythonForJson } from './support/python.ts'
import { jsonOf } from './support/run.ts'
import { digestsOf } from './support/scene.ts'
import { commandOf, describeClient, pythonOf, scriptPath } from './support/tools.ts'

const MODEL = 'acme/open-model'
const cacheOf = (home: string): string => join(home, '.cache/huggingface/hub')
const FAMILIES = new Set([
  'huggingface_hub 0.25',
  'huggingface_hub 2',
  'HfFileSystem',
  'transformers 5',
  'datasets, Parquet',
  '@huggingface/hub',
  'curl',
  'TEI',
])
const IMPORTED = new Set(['huggingface_hub 2', 'transformers 5', 'datasets, Parquet', '@huggingface/hub'])
const families = CLIENTS.filter((one) => FAMILIES.has(one.name) && canRead(one))

let network: Network
beforeAll(async () => {
  network = await openNetwork()
})
afterAll(() => network.close())

describeClient('a bundle in parts', ['hub-2', 'hub-1', 'hub-0', 'transformers'].map(pythonOf), () => {
  let gap: AirGap
  const commit = () => repoOf(gap.hub.world, MODEL).resolve('main')?.id ?? ''
  let earlier = ''

  beforeAll(async () => {
    gap = await openAirGap(gapWorld(), network)
    earlier = commit()
    const repos = argumentsFor('open')
    await gap.here(['prefetch', ...repos])
    await gap.here(['bundle', 'create', gap.at('a.tar'), '--split', '1MB', ...repos])
    await gap.there(['bundle', 'verify', gap.at('a.tar.001')])
    await gap.serve()
    await gap.there(['bundle', 'load', gap.at('a.tar.001')])
  })
  afterAll(() => gap.close())

  it.each(['hub-0', 'hub-1', 'hub-2'])('answers all that a snapshot implies to %s', async (client) => {
    const { hub } = gap
    const questions = [MODEL, commit(), 'nested', 'nested/deeper/vocab.txt', 'adapter_config.json']
    const args = [scriptPath('unreachable_hub.py'), ...questions]
    const direct = { HF_ENDPOINT: hub.url, HF_HUB_DISABLE_XET: '1' }
    const right = await pythonForJson(client, args, { home: await gap.newHome(), env: direct, direct: true })
    hub.ledger.clear()
    const env = { HF_ENDPOINT: gap.endpoint() }
    const done = await gap.start({ command: pythonOf(client), args, env }, await gap.newHome()).finished
    const answers = jsonOf(done, [client]) as Answers
    expectImplied(answers, right as Answers, [MODEL, 'acme/open-pipeline'])
    expectUnknown(answers)
    gap.expectNothingLeft()
  })

  // Before any HEAD of the branch: a GET of the same client means the commit of its HEAD for a minute.
  it('is followed by one with a new commit only, which the branch then has', async () => {
    const { hub } = gap
    commitMore(hub.world)
    const repos = argumentsFor('open')
    await gap.here(['prefetch', ...repos])
    await gap.here(['bundle', 'create', gap.at('b.tar'), ...repos, '--since', gap.at('a.tar.001')])
    hub.ledger.clear()
    await gap.there(['bundle', 'verify', gap.at('b.tar')])
    await gap.there(['bundle', 'load', gap.at('b.tar')])
    expect(commit()).not.toBe(earlier)
    for (const client of families) {
      const repo = repoFor(client, 'open')
      await expectRead(client, gap, { repo })
      const old = repoOf(hub.world, repo).resolve('main')?.parent
      if (client.takesRevision === true) await expectRead(client, gap, { repo, revision: old ?? '' })
    }
    gap.expectNothingLeft()
  })
  it('is read by transformers, which asks for no absent file twice', async () => {
    const env = { HF_ENDPOINT: gap.endpoint() }
    const args = [scriptPath('transformers_5.py'), MODEL]
    const command = { command: pythonOf('transformers'), args, env }
    const before = gap.mirror().log().length
    const loaded = jsonOf(await gap.start(command, await gap.newHome()).finished, args)
    expect(loaded).toMatchObject({ modelType: 'bert', tokens: 4, hasPickle: false, optional: null })
    const lines = gap.mirror().log().slice(before).split('\n')
    const asked = lines.filter((line) => line.includes('"chat_template.jinja"'))
    expect(asked.length).toBe(1)
    expect(asked[0]).toContain('"status":404,"outcome":"hit"')
    gap.expectNothingLeft()
  })

  it('is exported by the mirror that has loaded it, for clients without any network', async () => {
    const { hub } = gap
    const home = await gap.newHome()
    for (const repo of argumentsFor('open')) await gap.there(['export', repo, cacheOf(home)])
    const env = { HF_ENDPOINT: 'http://localhost:9', HF_HUB_OFFLINE: '1' }
    for (const client of ['hub-0', 'hub-1', 'hub-2']) {
      const read = (...args: readonly string[]) =>
        pythonForJson(client, [scriptPath('snapshot.py'), ...args], { home, env })
      const data = digestsOf(hub.world, 'acme/open-rows', { type: 'datasets' })
      expect([client, await read(MODEL)]).toMatchObject([client, { files: digestsOf(hub.world, MODEL) }])
      expect([client, await read('acme/open-rows', 'main', 'dataset')]).toMatchObject([
        client,
        { files: data },
      ])
    }
    // It compares the files with what the mirror says of them.
    for (const client of ['hub-1', 'hub-2']) {
      const command = { command: commandOf(client, 'hf'), args: ['cache', 'verify', MODEL] }
      const asked = { ...command, env: { HF_ENDPOINT: gap.endpoint() } }
      const { status, stdout, stderr } = await gap.start(asked, home).finished
      expect([client, status], stdout + stderr).toEqual([client, 0])
    }
    gap.expectNothingLeft()
  })
})

describeClient('a bundle of a store that was filled from a cache directory', [pythonOf('hub-2')], () => {
  it.each([
    ['with the Hub', [], {}],
    ['without the Hub', ['--public', '--whole'], { HUBMIRROR_OFFLINE: 'on' }],
  ])('is read by clients, if the directory was imported %s', async (_how, flags, env) => {
    const gap = await openAirGap(gapWorld(), network)
    try {
      const { hub } = gap
      const home = await gap.newHome()
      const direct = { HF_ENDPOINT: hub.url, HF_HUB_DISABLE_XET: '1' }
      for (const args of [[MODEL], ['acme/open-rows', 'main', 'dataset']])
        await pythonForJson('hub-2', [scriptPath('snapshot.py'), ...args], {
          home,
          env: direct,
          direct: true,
        })
      await gap.here(['import', cacheOf(home), ...flags], { env })
      await gap.here(['bundle', 'create', gap.at('a.tar'), MODEL, 'dataset/acme/open-rows'])
      hub.ledger.clear()
      await gap.there(['bundle', 'load', gap.at('a.tar')])
      await gap.serve()
      for (const client of families.filter(({ name }) => IMPORTED.has(name)))
        await expectRead(client, gap, { repo: repoFor(client, 'open') })
      gap.expectNothingLeft()
    } finally {
      await gap.close()
    }
  })
})
