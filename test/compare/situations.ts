// The rows of the behaviour table: what is done, in the order in which it is done. Each says in a few words what became
// of the client. A title that begins with `…` goes on where the row before left off.

import { digestsOf } from '../clients/support/scene.ts'
import { TOKENS } from '../clients/support/world.ts'
import type { Fault } from '../hub-simulator/faults.ts'
import { digest, LARGE, SMALL, type Stage } from './stage.ts'

/** One row. `play` returns the cell. */
export interface Situation {
  readonly title: string
  play(stage: Stage): Promise<string>
}

/** Rows under one heading. */
export interface Chapter {
  readonly title: string
  readonly situations: readonly Situation[]
}

const { alice, bob, invalid } = TOKENS
/** Where a body breaks: within the file, and within the first slice by which nginx fetches it. */
const MIDDLE = 2_000_000

/** What a caller without the right was given, where anything but a refusal is a leak. */
async function withoutRight(stage: Stage, repo: string, path: string, token?: string): Promise<string> {
  const text = await stage.file(repo, path, token === undefined ? {} : { token })
  return text.startsWith('ok') ? '**gets the file**' : text
}

async function snapshot(stage: Stage, repo: string, place?: 'below-path'): Promise<string> {
  const answer = await stage.ask({ call: 'snapshot', repo }, place)
  if (!answer.ok) return stage.outcome(answer, undefined)
  const found = answer.value as Record<string, string>
  const right = digestsOf(stage.hub.world, repo)
  const isRight = Object.keys(right).every((path) => found[path] === right[path])
  return stage.outcome({ ok: true, value: isRight }, true)
}

/** The first try under a fault, that strikes once. */
async function struck(stage: Stage, fault: Fault, repo: string, path: string): Promise<string> {
  const handle = stage.hub.faults.add(fault)
  const text = await stage.file(repo, path)
  handle.remove()
  return text
}

const PUBLIC: Chapter = {
  title: 'Public repos',
  situations: [
    { title: 'large file', play: (stage) => stage.file('acme/files', LARGE) },
    {
      title: '… again, by another user',
      play: async (stage) => stage.withSource(await stage.file('acme/files', LARGE)),
    },
    {
      title: '… again, by a user who is logged in',
      play: async (stage) => stage.withSource(await stage.file('acme/files', LARGE, { token: alice })),
    },
    {
      title: '… again, with a token that is not valid',
      play: async (stage) => stage.withSource(await stage.file('acme/files', LARGE, { token: invalid })),
    },
    { title: 'whole repo', play: (stage) => snapshot(stage, 'acme/files') },
    {
      title: 'whole repo, mounted below a path',
      play: (stage) => snapshot(stage, 'acme/files', 'below-path'),
    },
    { title: 'small file of a renamed repo', play: (stage) => stage.file('acme/before', SMALL) },
    { title: 'large file of a renamed repo', play: (stage) => stage.file('acme/before', LARGE) },
    { title: 'file that does not exist', play: async (stage) => absent(stage, { path: 'absent.txt' }) },
    {
      title: 'revision that does not exist',
      play: async (stage) => absent(stage, { path: SMALL, revision: 'absent' }),
    },
    {
      title: 'range in the middle (HfFileSystem)',
      play: async (stage) => {
        const [start, end] = [MIDDLE, MIDDLE + 100_000]
        const answer = await stage.ask({ call: 'slice', repo: 'acme/resume', path: LARGE, start, end })
        return stage.outcome(answer, digest(stage.bytes('acme/resume', LARGE, start, end)))
      },
    },
    {
      title: 'resume of half a file (curl -C -)',
      play: async (stage) => {
        const url = `${stage.contestant.url}/acme/resume/resolve/main/${LARGE}`
        const half = { name: 'out', bytes: stage.bytes('acme/resume', LARGE, 0, MIDDLE) }
        const done = await stage.command('curl', ['-fsSL', '-C', '-', '-o', 'out', url], half)
        if (done.status !== 0) return `curl ends with ${done.status}`
        return stage.outcome({ ok: true, value: done.digest }, digest(stage.bytes('acme/resume', LARGE)))
      },
    },
    {
      title: 'list of 1,100 files, in two pages',
      play: async (stage) => stage.outcome(await stage.ask({ call: 'list', repo: 'acme/many' }), 1100),
    },
    {
      title: '… where only the mirror can be reached',
      play: async (stage) =>
        stage.outcome(await stage.ask({ call: 'list', repo: 'acme/many' }, 'closed'), 1100),
    },
    {
      title: 'large file where only the mirror can be reached',
      play: (stage) => stage.file('acme/files', LARGE, { place: 'closed' }),
    },
    {
      title: 'large file with hf_xet installed',
      play: async (stage) => {
        const text = await stage.file('acme/xet', LARGE, { place: 'xet' })
        const asked = stage.hub.ledger.requests({ url: /xet-read-token/ }).length > 0
        return asked ? 'leaves for Xet storage' : text
      },
    },
  ],
}

async function absent(stage: Stage, what: { path: string; revision?: string }): Promise<string> {
  return stage.outcome(await stage.ask({ call: 'file', repo: 'acme/files', ...what }), undefined)
}

const LOGIN: Chapter = {
  title: 'Private and gated repos',
  situations: [
    { title: 'private, without a token', play: (stage) => withoutRight(stage, 'acme/secret', SMALL) },
    {
      title: 'private, small file, by a user who may read it',
      play: (stage) => stage.file('acme/secret', SMALL, { token: alice }),
    },
    { title: '… then without a token', play: (stage) => withoutRight(stage, 'acme/secret', SMALL) },
    {
      title: 'private, large file, by a user who may read it',
      play: (stage) => stage.file('acme/secret', LARGE, { token: alice }),
    },
    { title: '… then without a token', play: (stage) => withoutRight(stage, 'acme/secret', LARGE) },
    {
      title: '… then by another user who is logged in',
      play: (stage) => withoutRight(stage, 'acme/secret', LARGE, bob),
    },
    {
      title: '… then with a token that is not valid',
      play: (stage) => withoutRight(stage, 'acme/secret', LARGE, invalid),
    },
    {
      title: 'private, by a user who may read it, after another was refused',
      play: async (stage) => {
        await withoutRight(stage, 'acme/refused', SMALL, bob)
        return stage.file('acme/refused', SMALL, { token: alice })
      },
    },
    { title: 'gated, without a token', play: (stage) => withoutRight(stage, 'acme/gated', LARGE) },
    {
      title: 'gated, by a user who has access',
      play: (stage) => stage.file('acme/gated', LARGE, { token: alice }),
    },
    { title: '… then without a token', play: (stage) => withoutRight(stage, 'acme/gated', LARGE) },
    {
      title: '… then by a user without access',
      play: (stage) => withoutRight(stage, 'acme/gated', LARGE, bob),
    },
    {
      title: 'who am I (`whoami`): alice',
      play: async (stage) => stage.outcome(await stage.ask({ call: 'whoami', token: alice }), 'alice'),
    },
    {
      title: '… then bob',
      play: async (stage) => {
        const answer = await stage.ask({ call: 'whoami', token: bob })
        return answer.ok && answer.value === 'alice'
          ? '**gets the answer for alice**'
          : stage.outcome(answer, 'bob')
      },
    },
    {
      title: 'private, large file, by aria2, which sends its header to every redirect target',
      play: async (stage) => {
        const url = `${stage.contestant.url}/acme/secret/resolve/main/${LARGE}`
        const args = ['--quiet', `--header=Authorization: Bearer ${alice}`, '-o', 'out', url]
        const done = await stage.command('aria2c', args)
        const leaked = stage.hub.ledger.requests(
          ({ server, headers }) => server === 'cdn' && !!headers.authorization,
        )
        if (leaked.length > 0) return '**token sent to the CDN**'
        const isRight = done.digest === digest(stage.bytes('acme/secret', LARGE))
        return done.status === 0 && isRight ? 'ok' : 'refused'
      },
    },
  ],
}

const BROKEN: Chapter = {
  title: 'An origin that breaks',
  situations: [
    {
      title: 'large file, cut off in the middle',
      play: (stage) =>
        struck(stage, { where: 'cdn', method: 'GET', cutAfterBytes: MIDDLE }, 'acme/cut', LARGE),
    },
    { title: '… then by another user', play: (stage) => stage.file('acme/cut', LARGE) },
    {
      title: 'small file, cut off in an answer without length',
      play: (stage) =>
        struck(
          stage,
          {
            where: 'hub',
            method: 'GET',
            match: /resolve-cache.*unframed/,
            noContentLength: true,
            cutAfterBytes: 9,
          },
          'acme/unframed',
          SMALL,
        ),
    },
    { title: '… then by another user', play: (stage) => stage.file('acme/unframed', SMALL) },
    {
      title: 'large file with one wrong byte',
      play: (stage) =>
        struck(stage, { where: 'cdn', method: 'GET', corruptAt: MIDDLE }, 'acme/corrupt', LARGE),
    },
    { title: '… then by another user', play: (stage) => stage.file('acme/corrupt', LARGE) },
    {
      title: 'small file with one wrong byte',
      play: (stage) =>
        struck(
          stage,
          { where: 'hub', method: 'GET', match: /resolve-cache.*corrupt/, corruptAt: 3 },
          'acme/corrupt',
          SMALL,
        ),
    },
    { title: '… then by another user', play: (stage) => stage.file('acme/corrupt', SMALL) },
    {
      title: 'the Hub answers 503: file that was fetched before',
      play: async (stage) => {
        await stage.file('acme/unwell', LARGE)
        const handle = stage.hub.faults.add({ where: 'hub', status: { code: 503 }, times: 1000 })
        const text = await stage.file('acme/unwell', LARGE)
        handle.remove()
        return text
      },
    },
    {
      title: 'the Hub is away: file that was fetched before',
      play: async (stage) => {
        await stage.file('acme/stored', LARGE)
        await snapshot(stage, 'acme/stored')
        await stage.hub.stop()
        return stage.file('acme/stored', LARGE)
      },
    },
    {
      title: '… by a user who is logged in',
      play: (stage) => stage.file('acme/stored', LARGE, { token: alice }),
    },
    { title: '… the whole repo', play: (stage) => snapshot(stage, 'acme/stored') },
    { title: '… a file that was never fetched', play: (stage) => stage.file('acme/unstored', LARGE) },
  ],
}

/** All of it. The last rows take the Hub away, so the order matters. */
export const CHAPTERS: readonly Chapter[] = [PUBLIC, LOGIN, BROKEN]
