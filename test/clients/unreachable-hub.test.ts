// What clients get of a repo of which one snapshot was taken, and nothing else was asked, when the mirror is offline by
// configuration or the Hub is away. What the snapshot implies is answered as the Hub would; the rest is refused with a
// sentence, and at once.

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { type Answers, expectImplied, expectUnknown, UNKNOWN } from './support/implied.ts'
import { python } from './support/python.ts'
import { runForJson } from './support/run.ts'
import { commitOf, digestsOf, useScene, useSharedScene } from './support/scene.ts'
import { describeClient, nodeClients, pythonOf } from './support/tools.ts'
import { clientWorld } from './support/world.ts'

for (const client of ['hub-0', 'hub-1', 'hub-2']) {
  describeClient(`a repo of which one snapshot was taken (${client})`, [pythonOf(client)], () => {
    const scene = useSharedScene(clientWorld)
    let right: Answers = {}

    const ask = async (how?: { readonly direct: boolean }) => {
      const commit = commitOf(scene().hub.world, 'acme/tiny')
      const args = ['acme/tiny', commit, 'nested', 'nested/deeper/vocab.txt', 'adapter_config.json']
      return (await python(scene(), client, 'unreachable_hub.py', args, how)) as Answers
    }

    it('is described in full while the Hub cannot be reached, and no wait is called a rate limit', async () => {
      const { hub } = scene()
      right = await ask({ direct: true })
      await python(scene(), client, 'snapshot.py', ['acme/tiny'])
      await hub.stop()
      const answers = await ask()
      expectImplied(answers, right, ['acme/tiny'])
      for (const name of UNKNOWN) expect(answers[name]?.raised, name).toBeDefined()
      expect(answers['said']?.value).not.toContain('Rate limited')
    })

    it('is described in full while the mirror is offline, and questions without an answer are refused once', async () => {
      const { hub, restartMirror } = scene()
      await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
      hub.ledger.clear()
      const answers = await ask()
      expectImplied(answers, right, ['acme/tiny'])
      expectUnknown(answers)
      expect(hub.ledger.requests()).toEqual([])
      const lines = scene().mirror.log().split('\n')
      const asked = (part: string) => lines.filter((line) => line.includes(part)).length
      // A file and an info of the repo, a file of the branch: each once.
      expect([asked('no-such-repo'), asked('no-such-branch')]).toEqual([2, 1])
    })
  })
}

describeClient(
  'a repo of which huggingface_hub took a snapshot (@huggingface/hub)',
  [pythonOf('hub-2'), join(nodeClients, 'node_modules/@huggingface/hub')],
  () => {
    const scene = useScene(clientWorld)
    const script = (name: string) => fileURLToPath(new URL(`./scripts/${name}`, import.meta.url))
    const ask = async (command: string, ...args: string[]) =>
      runForJson(
        process.execPath,
        ['--import', script('only-localhost.mjs'), script('hub.mjs'), command, scene().mirror.url, ...args],
        { home: await scene().newHome(), cwd: nodeClients },
      )

    it('is described in full while the mirror is offline', async () => {
      const { hub, restartMirror } = scene()
      for (const repo of ['acme/tiny', 'acme/bert']) await python(scene(), 'hub-2', 'snapshot.py', [repo])
      await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
      const commit = commitOf(hub.world, 'acme/tiny')
      const digests = digestsOf(hub.world, 'acme/tiny')
      const path = 'model.safetensors'
      expect(await ask('info', 'acme/tiny')).toEqual({
        value: { name: 'acme/tiny', isPrivate: false, sha: commit },
      })
      expect(await ask('list', 'acme/tiny')).toEqual({ value: Object.keys(digests).sort() })
      expect(await ask('paths', 'acme/tiny', path)).toEqual({ value: [{ path, size: 3_000_000 }] })
      expect(await ask('cached', 'acme/tiny', path)).toEqual({ value: digests[path] })
      // It can read no empty file, which acme/tiny has.
      expect(await ask('snapshot', 'acme/bert')).toEqual({
        value: { commit: commitOf(hub.world, 'acme/bert') },
      })
      expect(await ask('download', 'acme/tiny', 'absent.txt')).toEqual({ value: null })
      expect(await ask('list', 'acme/odd')).toMatchObject({
        status: 404,
        message: expect.stringContaining('This mirror is offline by configuration') as unknown,
      })
    })
  },
)

describeClient(
  'a repo of which huggingface_hub took a snapshot (transformers)',
  [pythonOf('hub-2'), pythonOf('transformers')],
  () => {
    const scene = useScene(clientWorld)

    it('is loaded while the mirror is offline, and no absent file is requested twice', async () => {
      const { hub, restartMirror } = scene()
      await python(scene(), 'hub-2', 'snapshot.py', ['acme/bert'])
      await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
      hub.ledger.clear()
      const loaded = await python(scene(), 'transformers', 'transformers_5.py', ['acme/bert'])
      expect(loaded).toMatchObject({ modelType: 'bert', tokens: 4, hasPickle: false, optional: null })
      const requests = scene().mirror.log().split('\n')
      const asked = requests.filter((line) => line.includes('"chat_template.jinja"'))
      expect(asked.length).toBe(1)
      expect(asked[0]).toContain('"status":404,"outcome":"hit"')
      expect(hub.ledger.requests()).toEqual([])
    })
  },
)
