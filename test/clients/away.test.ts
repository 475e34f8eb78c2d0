// What clients get of a repo of which one snapshot was taken, and nothing else was asked, when the mirror is offline by
// configuration or the Hub is away. What the snapshot implies is answered as the Hub would; the rest is refused with a
// sentence, and at once.

import { expect, it } from 'vitest'
import { python } from './support/python.ts'
import { commitOf, useScene } from './support/scene.ts'
import { describeClient, pythonOf } from './support/tools.ts'
import { clientWorld } from './support/world.ts'

interface Answer {
  readonly value?: unknown
  readonly raised?: readonly string[]
  readonly text?: string
  readonly waits: number
}

/** What is not implied by a snapshot. */
const UNKNOWN = ['unknownRepo', 'unknownRevision', 'snapshotOfUnknown', 'list'] as const

for (const client of ['hub-0', 'hub-1', 'hub-2']) {
  describeClient(`a repo of which one snapshot was taken (${client})`, [pythonOf(client)], () => {
    const scene = useScene(clientWorld)

    const ask = async (how?: { readonly direct: boolean }) => {
      const commit = commitOf(scene().hub.world, 'acme/tiny')
      const args = ['acme/tiny', commit, 'nested', 'nested/deeper/vocab.txt', 'adapter_config.json']
      return (await python(scene(), client, 'away.py', args, how)) as Record<string, Answer>
    }

    const expectImplied = (answers: Record<string, Answer>, right: Record<string, Answer>) => {
      for (const [name, { value, raised }] of Object.entries(right)) {
        if (name === 'said' || (UNKNOWN as readonly string[]).includes(name)) continue
        expect({ name, value: answers[name]?.value, raised: answers[name]?.raised }).toEqual({
          name,
          value,
          raised,
        })
        expect(answers[name]?.waits, `${name}: ${answers[name]?.text}`).toBe(0)
      }
      expect(answers['absentFile']?.raised).toContain('EntryNotFoundError')
      expect(answers['absentFile']?.raised).not.toContain('LocalEntryNotFoundError')
    }

    it('is told of in full while the mirror is offline, and what is not known is said once', async () => {
      const { hub, restartMirror } = scene()
      const right = await ask({ direct: true })
      await python(scene(), client, 'snapshot.py', ['acme/tiny'])
      await restartMirror({ HUBMIRROR_OFFLINE: 'on' })
      hub.ledger.clear()
      const answers = await ask()
      expectImplied(answers, right)
      for (const name of UNKNOWN) {
        expect(answers[name]?.text, name).toContain('This mirror is offline by configuration')
        expect(answers[name]?.waits, name).toBe(0)
      }
      expect(hub.ledger.requests()).toEqual([])
      const lines = scene().mirror.log().split('\n')
      const asked = (part: string) => lines.filter((line) => line.includes(part)).length
      // A file and an info of the repo, a file of the branch: each once.
      expect([asked('no-such-repo'), asked('no-such-branch')]).toEqual([2, 1])
    })

    it('is told of in full while the Hub is away, and no wait is called a rate limit', async () => {
      const { hub } = scene()
      const right = await ask({ direct: true })
      await python(scene(), client, 'snapshot.py', ['acme/tiny'])
      await hub.stop()
      const answers = await ask()
      expectImplied(answers, right)
      for (const name of UNKNOWN) expect(answers[name]?.raised, name).toBeDefined()
      expect(answers['said']?.value).not.toContain('Rate limited')
    })
  })
}
