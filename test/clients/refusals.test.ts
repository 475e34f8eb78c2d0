// Every "no" of the Hub reaches the caller of huggingface_hub as the same exception, mirror or not.

import { expect, it } from 'vitest'
import { python } from './support/python.ts'
import { useSharedScene } from './support/scene.ts'
import { describeClient, pythonOf } from './support/tools.ts'
import { clientWorld, TOKENS } from './support/world.ts'

interface Case {
  readonly name: string
  readonly call: string
  readonly repo?: string
  readonly path?: string
  readonly revision?: string
  readonly token?: string
}

const CALLS = ['file', 'snapshot', 'info', 'tree', 'exists', 'auth_check']
const REPOS = ['acme/tiny', 'acme/secret', 'acme/gated', 'acme/missing']

const CASES: readonly Case[] = Object.entries({ anonymous: undefined, ...TOKENS }).flatMap(
  ([who, token]): Case[] => {
    const as = token === undefined ? {} : { token }
    return [
      ...REPOS.flatMap((repo) =>
        CALLS.map((call) => ({ name: `${who}: ${call} ${repo}`, call, repo, path: 'config.json', ...as })),
      ),
      { name: `${who}: file absent`, call: 'file', repo: 'acme/tiny', path: 'absent.txt', ...as },
      {
        name: `${who}: revision absent`,
        call: 'file',
        repo: 'acme/tiny',
        path: 'config.json',
        revision: 'absent',
        ...as,
      },
      {
        name: `${who}: snapshot of revision absent`,
        call: 'snapshot',
        repo: 'acme/tiny',
        revision: 'absent',
        ...as,
      },
      {
        name: `${who}: file_exists absent`,
        call: 'file_exists',
        repo: 'acme/tiny',
        path: 'absent.txt',
        ...as,
      },
      { name: `${who}: whoami`, call: 'whoami', ...as },
    ]
  },
)

/**
 * What the mirror makes a client raise, by what the Hub, asked over http://, makes it raise. Two kinds of answers
 * differ, and both are meant to.
 */
function throughMirror(name: string, direct: string, raised: Readonly<Record<string, string>>): string {
  // Clients take the Hub's bare 401 for "no such repo" over https:// only. The mirror adds the code that says so.
  // Otherwise clients that reach it over http:// would report a broken connection.
  if (/^anonymous: .* acme\/(secret|missing)$/.test(name)) {
    return name.includes(': exists ') ? 'False' : 'RepositoryNotFoundError'
  }
  // The Hub refuses an invalid token even where none is needed. What is public, stored and fresh comes from the disk
  // without a question to the Hub, so no caller learns there that the token is invalid.
  if (
    /^invalid: (?:file(?:_exists)? (?:acme\/tiny|absent)|(?:exists|info|snapshot|tree) acme\/tiny)$/.test(
      name,
    )
  ) {
    return raised[name.replace('invalid', 'anonymous')] ?? ''
  }
  return direct
}

for (const client of ['hub-2', 'hub-1', 'hub-0']) {
  describeClient(`huggingface_hub, refused by the Hub (${client})`, [pythonOf(client)], () => {
    // Long, so that "stored" means the same for the first case and for the last.
    const scene = useSharedScene(clientWorld, { env: { HUBMIRROR_REF_TTL: '1h' } })
    const play = async (direct: boolean) =>
      (await python(scene(), client, 'refusals.py', [JSON.stringify(CASES)], { direct })) as Record<
        string,
        string
      >

    it('raises the exception that the Hub itself would make it raise', async () => {
      const direct = await play(true)
      const right = Object.fromEntries(
        Object.entries(direct).map(([name, raised]) => [name, throughMirror(name, raised, direct)]),
      )
      expect(await play(false)).toEqual(right)
    })

    it('raises the same again, and admits the same callers, when everything is stored', async () => {
      const first = await play(false)
      expect(await play(false)).toEqual(first)
      expect(first).toMatchObject({
        'anonymous: file acme/tiny': 'ok',
        'anonymous: file acme/secret': 'RepositoryNotFoundError',
        'anonymous: file acme/gated': 'GatedRepoError',
        'alice: file acme/secret': 'ok',
        'alice: file acme/gated': 'ok',
        'bob: file acme/secret': 'RepositoryNotFoundError',
        'bob: file acme/gated': 'GatedRepoError',
        'invalid: file acme/secret': 'HfHubHTTPError',
        'alice: revision absent': 'RevisionNotFoundError',
        'alice: whoami': 'alice',
      })
    })

    it('shows cause and cure to the reader of the exception', async () => {
      const gated = { repo: 'acme/gated', path: 'config.json', call: 'file', show: true }
      const cases = [
        { name: 'anonymous', ...gated },
        { name: 'not let in', ...gated, token: TOKENS.bob },
        { name: 'no such token', call: 'info', repo: 'acme/odd', token: TOKENS.invalid, show: true },
      ]
      const shown = (await python(scene(), client, 'refusals.py', [JSON.stringify(cases)])) as Record<
        string,
        string
      >
      expect(shown['anonymous']).toMatch(/^GatedRepoError: [^]*No token arrived at the mirror: set HF_TOKEN/)
      expect(shown['not let in']).toMatch(
        /^GatedRepoError: [^]*visit https:\/\/huggingface\.co\/acme\/gated and/,
      )
      expect(shown['no such token']).toMatch(/^HfHubHTTPError: [^]*the Hub rejects it/)
    })

    const givesUp = client === 'hub-0'
    it(`${givesUp ? 'gives up at once' : 'waits as long as the answer says'} when the Hub is asked too often`, async () => {
      const { hub } = scene()
      // Of which nothing is stored.
      const cases = [{ name: 'file', call: 'file', repo: 'acme/bert', path: 'config.json' }]
      hub.faults.add({ where: 'hub', match: /\/resolve\//, method: 'HEAD', rateLimit429: { retryAfter: 3 } })
      const raised = (await python(scene(), client, 'refusals.py', [JSON.stringify(cases)])) as {
        file: string
      }
      const [first, ...later] = hub.ledger.requests({ url: /\/resolve\// })
      for (const { at } of later) expect(at - (first?.at ?? 0)).toBeGreaterThanOrEqual(3_000)
      if (givesUp) {
        // Version 0 retries no HEAD; what matters is that we do not, either.
        expect([raised.file.split(':')[0], later]).toEqual(['LocalEntryNotFoundError', []])
      } else {
        expect(raised).toEqual({ file: 'ok' })
        expect(later.length).toBeGreaterThan(0)
      }
    })
  })
}
