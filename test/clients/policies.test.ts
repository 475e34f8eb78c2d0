// What users of huggingface_hub see where a rule of the mirror's operator denies: the words of the rule.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { hubEnvironment, python } from './support/python.ts'
import { run } from './support/run.ts'
import { useScene } from './support/scene.ts'
import { commandOf, describeClient, pythonOf } from './support/tools.ts'
import { clientWorld } from './support/world.ts'

const folder = mkdtempSync(join(tmpdir(), 'hubmirror-rules-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = join(folder, 'hubmirror.yaml')
writeFileSync(
  file,
  `policies:
  - name: no-vocab
    match: { repo: acme/tiny, file: 'vocab.txt' }
    action: deny
    message: Vocabularies stay at home.
  - { name: tiny-only, match: { repo: acme/tiny }, action: allow }
  - { name: rest, action: deny }
`,
)
const FILE = 'Vocabularies stay at home. (policy no-vocab of this mirror)'
const REPO = 'The rules of this mirror do not allow this. (policy rest of this mirror)'

for (const client of ['hub-2', 'hub-1', 'hub-0']) {
  describeClient(`huggingface_hub under rules (${client})`, [pythonOf(client)], () => {
    const scene = useScene(clientWorld, { env: { HUBMIRROR_CONFIG: file } })

    it('raises GatedRepoError with the text of the rule, and gets all other files', async () => {
      expect(await python(scene(), client, 'policy.py', ['acme/tiny', 'nested/deeper/vocab.txt'])).toEqual({
        file: ['GatedRepoError', FILE],
        beside: ['ok', ''],
        snapshot: ['GatedRepoError', FILE],
        rest: ['ok', ''],
        info: ['ok', ''],
        repo: ['GatedRepoError', REPO],
        'repo info': ['GatedRepoError', REPO],
        'repo snapshot': ['GatedRepoError', REPO],
        files: ['README.md', 'config.json', 'empty.txt', 'model.safetensors'],
      })
      const asked = scene()
        .hub.ledger.requests()
        .map(({ url }) => url)
      expect(asked.filter((url) => /bert|resolve\/.*vocab/.test(url))).toEqual([])
    })
  })
}

describeClient('hf under rules (hub-2)', [commandOf('hub-2', 'hf')], () => {
  const scene = useScene(clientWorld, { env: { HUBMIRROR_CONFIG: file } })

  it('prints the text of the rule, though it mentions an approval', async () => {
    const home = await scene().newHome()
    const args = ['download', 'acme/tiny', 'nested/deeper/vocab.txt']
    const done = await run(commandOf('hub-2', 'hf'), args, { home, env: hubEnvironment(scene()) })
    expect(done.status).toBe(1)
    expect(done.stdout + done.stderr).toContain(FILE)
  })
})
