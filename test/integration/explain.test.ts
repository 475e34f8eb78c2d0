// `hubmirror config explain` says what the mirror would do, without any request.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type ExplainOptions, explain } from '../../src/commands/explain.ts'
import { loadConfig } from '../../src/config/load.ts'
import { parseRepoId } from '../../src/hub/names.ts'
import { run } from '../support/run-cli.ts'

const RULES = `
tokens: { team-a: { token: hf_x } }
policies:
  - name: ours
    match: { repo: acme/*, caller: { network: 10.0.0.0/8 } }
    action: allow
  - name: shared
    match: { repo: org/gated, caller: { network: 10.0.0.0/8 } }
    action: use-token
    token: team-a
  - name: no-pickles
    match: { file: '*.bin' }
    action: deny
    message: No pickles.
  - name: short
    match: { repo: gpt2 }
    action: deny
  - match: { size: '>10GB' }
    action: no-store
  - name: no-nc
    match: { licence: '*-nc-*' }
    action: deny
`
const scratch = mkdtempSync(join(tmpdir(), 'hubmirror-explain-'))
const file = join(scratch, 'h.yaml')
writeFileSync(file, RULES)
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const told = (
  repo: string,
  { config: from = file, ...more }: Partial<ExplainOptions> & { readonly config?: string } = {},
): string => {
  const { config } = loadConfig({ flags: { config: from }, env: {} })
  const id = parseRepoId(repo)
  return explain(config, {
    repo: id === undefined ? undefined : { type: 'model', id },
    name: undefined,
    revision: undefined,
    file: undefined,
    url: undefined,
    caller: { address: '10.1.2.3', mirrorToken: undefined, ownToken: false },
    facts: { access: 'public', licence: [], sizeBytes: 1 },
    json: false,
    ...more,
  })
}
const result = (text: string): string => text.trimEnd().split('\n').at(-1) ?? ''

describe('hubmirror config explain', () => {
  it.each([
    ['acme/m', { file: 'x.bin' }, 'allowed by ours'],
    ['org/m', { file: 'sub/x.BIN' }, 'denied by no-pickles: No pickles. (policy no-pickles of this mirror)'],
    ['org/m', {}, 'allowed because no rule says otherwise'],
    [
      'org/gated',
      {},
      'allowed because no rule says otherwise; the mirror requests it with the Hub token team-a',
    ],
    [
      'org/m',
      { file: 'x', facts: { licence: [], sizeBytes: 2e10 } },
      'allowed because no rule says otherwise; nothing of it is stored',
    ],
    ['org/m', { file: 'x', facts: {} }, 'undecided: it depends on facts from the Hub; give --size'],
    ['org/m', { facts: {} }, 'undecided: it depends on facts from the Hub; give --licence'],
    ['gpt2', {}, 'undecided: it depends on facts from the Hub; give --name'],
    ['gpt2', { name: 'acme/gpt2' }, 'allowed by ours'],
    [
      'gpt2',
      { name: 'org/gpt2' },
      'denied by short: The rules of this mirror do not allow this. (policy short of this mirror)',
    ],
    ['org/gpt2', {}, 'allowed because no rule says otherwise'],
    [
      '',
      { url: '/org/m.git/git-upload-pack' },
      'denied by no-pickles: No pickles. This request can include any file. Fetch single files instead, as hf download does. (policy no-pickles of this mirror)',
    ],
    ['', { url: '/api/models?limit=1' }, 'allowed: rules apply only to repos'],
    ...['/org/gated/settings', '/api/models/org/gated/commit/main'].map(
      (url) =>
        [
          '',
          { url },
          'allowed because no rule says otherwise; the Hub token team-a is lent only to read the content of the repo, not for this',
        ] as const,
    ),
  ] as const)('of %s %j says: %s', (repo, more, says) => {
    expect(result(told(repo, more))).toBe(says)
  })

  it('goes through the rules in order and says what each does', () => {
    const ownToken = { address: '10.1.2.3', mirrorToken: undefined, ownToken: true }
    expect(told('org/gated', { file: 'x.bin', caller: ownToken }).split('\n')).toEqual([
      'model org/gated, at main, file x.bin; caller 10.1.2.3 with a Hub token',
      `  ours        allow      does not match: repo  (${file}:4:5)`,
      `  shared      use-token  skipped: the caller sends a token  (${file}:7:5)`,
      `  no-pickles  deny       matches  (${file}:11:5)`,
      `  short       deny       not reached  (${file}:15:5)`,
      `  #5          no-store   not reached  (${file}:18:5)`,
      `  no-nc       deny       not reached  (${file}:20:5)`,
      'denied by no-pickles: No pickles. (policy no-pickles of this mirror)',
      '',
    ])
  })

  it('says who is served without the Hub', () => {
    const serving = join(scratch, 'serving.yaml')
    writeFileSync(
      serving,
      `cache.private: on
policies:
  - {name: air-gap, action: serve-stored, match: {repo: org/*, caller: {mirrorToken: ci}}}
  - {action: deny, match: {file: '*.bin'}}
`,
    )
    const by = (mirrorToken: string | undefined, more: Partial<ExplainOptions> = {}, repo = 'org/m') =>
      told(repo, { config: serving, caller: { address: '10.1.2.3', mirrorToken, ownToken: false }, ...more })
    expect(by('ci').split('\n')).toEqual([
      'model org/m, at main; caller 10.1.2.3 with the mirror token ci',
      `  air-gap  serve-stored  matches  (${serving}:3:5)`,
      `  #2       deny          does not match: file  (${serving}:4:5)`,
      'allowed because no rule says otherwise; while the Hub cannot be asked, the mirror serves what is stored of the repo, also if it is private or gated',
      '',
    ])
    expect(by('ci', { file: 'x.bin' })).toContain('denied by #2')
    expect(JSON.parse(by('ci', { json: true }))).toMatchObject({ verdict: 'allow', serveStored: 'air-gap' })
    for (const other of [
      by('other'),
      by(undefined),
      by('ci', {}, 'acme/m'),
      by('ci', { url: '/org/m.git/info/refs' }),
    ])
      expect(other).not.toContain('serves what is stored')
  })

  it('says it in JSON', () => {
    expect(JSON.parse(told('org/m', { file: 'x.bin', json: true }))).toMatchObject({
      verdict: 'deny',
      rule: 'no-pickles',
      about: { type: 'model', repo: 'org/m', revision: 'main', file: 'x.bin' },
    })
    const lent = (more: Partial<ExplainOptions>) =>
      (JSON.parse(told('org/gated', { json: true, ...more })) as { useToken?: string }).useToken
    expect([lent({}), lent({ url: '/org/gated/settings' })]).toEqual(['team-a', undefined])
    expect(JSON.parse(told('org/m', { json: true, facts: {} }))).toMatchObject({
      verdict: 'undecided',
      needs: ['licence'],
    })
  })
})

describe('the command line of explain', () => {
  it('reads the settings and the request from its flags', async () => {
    const args = '--repo dataset/org/d --file a.bin --caller 192.0.2.7 --json'.split(' ')
    const done = await run(['config', 'explain', '--config', file, ...args])
    expect([done.status, done.stderr]).toEqual([0, ''])
    expect(JSON.parse(done.stdout)).toMatchObject({
      verdict: 'deny',
      about: { type: 'dataset', repo: 'org/d' },
    })
  })

  it.each([
    [[], 'either --repo or --url'],
    [['--repo', 'a b'], 'A repo id is'],
    [['--repo', 'a/b', '--caller', 'office'], 'Expected an address'],
    [['--repo', 'a/b', '--size', '10'], 'did you mean 10GB?'],
  ])('reports bad usage: %j', async (args, cure) => {
    const done = await run(['config', 'explain', '--config', file, ...args])
    expect([done.status, done.stdout]).toEqual([2, ''])
    expect(done.stderr).toContain(cure)
  })
})
