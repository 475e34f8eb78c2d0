// What happens between a mirror and the Hub in the field, as every client lives through it: gateways that drop fields or encode
// what was asked for plain, connections that break or have died, filters and maintenance pages in the Hub's place, a rate limit
// that names no time, and a mirror that is offline. A client reads the right bytes, or ends with words about the cause. One mirror
// plays all of it, with repos of their own for each client and fault. Refusals by rules are in the table of clients.

import { afterAll, expect, it } from 'vitest'
import type { Fault } from '../hub-simulator/faults.ts'
import { sha256Of, World } from '../hub-simulator/repos.ts'
import { ask } from '../support/ask.ts'
import type { Client } from './matrix/client.ts'
import { CLIENTS } from './matrix/clients.ts'
import { absentOf, canReach } from './matrix/play.ts'
import { inTurn } from './matrix/pool.ts'
import { filesOf } from './matrix/world.ts'
import { type Many, openMany, type Played } from './support/many.ts'
import { expectManners, useSharedScene } from './support/scene.ts'
import { describeClient, pythonOf } from './support/tools.ts'

/** One row of the table for each library that asks in its own way. */
const NAMES = [
  'huggingface_hub 0.20',
  'huggingface_hub 0.25',
  'huggingface_hub 0.36',
  'huggingface_hub 1',
  'huggingface_hub 2',
  'hf',
  'hf_transfer',
  'HfFileSystem',
  'transformers 4',
  'transformers 5',
  'datasets, JSON',
  '@huggingface/hub',
  'transformers.js in Node',
  'curl',
  'wget',
  'aria2',
  'git',
  'git-lfs',
  'hf-hub 0.4',
  'hf-hub 0.5',
  'llama.cpp',
  'llama.cpp, older',
  'Ollama',
  'TEI',
  'TGI, launcher and router',
]
const PLAYING = CLIENTS.filter(
  (client) => NAMES.includes(client.name) && absentOf(client).length === 0 && canReach(client),
)
const ALWAYS = Number.POSITIVE_INFINITY
const HTML = { 'Content-Type': 'text/html' }

/** After which each client has the right bytes, though nothing is stored. At one server, the first that fits strikes. */
const HARMLESS: Readonly<Record<string, readonly Trouble[]>> = {
  'encoded answers, and ETags without quotes': [
    { where: 'hub', gzipAlways: true, bareEtag: true },
    { where: 'cdn', gzipAlways: true },
  ],
  'fields that are dropped, and connections to the CDN that break': [
    { where: 'hub', dropHeader: ['x-repo-commit', 'x-linked-etag', 'x-linked-size', 'accept-ranges'] },
    { where: 'cdn', cutAfterBytes: 500, times: 2 },
  ],
  'lengths that are dropped, and kept connections that have died': [
    { where: 'hub', method: 'HEAD', dropHeader: 'content-length' },
    { where: 'hub', isKept: true, endBeforeHeaders: true },
  ],
}

type Trouble = Omit<Fault, 'match'> & { readonly isKept?: true }

const EDGE = { code: 403, headers: { ...HTML, Server: 'gateway' }, body: '<html>not allowed' }
/** In place of the Hub, for a client that asks for what is not stored; with words of the answer, and its status. */
const REFUSING = {
  'a filter': [{ edge: EDGE }, /answered 403 in the Hub's place/, 502],
  'a proxy that the mirror must sign in to': [
    {
      edge: {
        code: 407,
        headers: { ...HTML, 'Proxy-Authenticate': 'Basic realm="p"' },
        body: '<html>sign in',
      },
    },
    /asks the mirror to sign in \(407\)/,
    502,
  ],
  'a CDN whose own origin has failed': [
    { edge: { code: 520, headers: HTML, body: '<html>unknown error' } },
    /it answered 520/,
    502,
  ],
  'maintenance of the Hub': [
    { edge: { code: 503, headers: { ...HTML, 'Retry-After': '40' }, body: '<html>back soon' } },
    /The Hub/,
    503,
  ],
  'a rate limit that names no time': [
    { edge: { code: 429, headers: HTML, body: '<html>slow down' } },
    /too many requests/,
    429,
  ],
} as const

const STORED = 'stored'
const COLD = 'cold'
const STATES = [...Object.keys(HARMLESS), STORED, COLD]

function repoOf(client: Client, state: string): string {
  const [owner, name] = [client.name, state].map((text) =>
    text.replaceAll(/[^a-zA-Z0-9]+/g, '-').replaceAll(/^-|-$/g, ''),
  )
  return `${owner}/${name}`
}

function faultsWorld(): World {
  const world = new World()
  for (const [index, client] of PLAYING.entries())
    for (const [more, state] of STATES.entries())
      world
        .repo(client.repoType, repoOf(client, state))
        .commit(filesOf(client, 10 + index * STATES.length + more))
  return world
}

describeClient('in the field, every client', [pythonOf('hub-2')], () => {
  const scene = useSharedScene(faultsWorld, {
    env: { HUBMIRROR_REF_TTL: '0s', HUBMIRROR_ACCESS_TTL: '0s' },
  })
  const players = new Map<Client, Many>()
  afterAll(() => Promise.all([...players.values()].map((player) => player.stop())))

  const read = (client: Client, state: string): Promise<Played> => {
    const player = players.get(client) ?? openMany(() => scene().newHome())
    players.set(client, player)
    return player.play(client.read({ endpoint: scene().mirror.url, repo: repoOf(client, state) }))
  }
  /** Has the clients play, two at a time. Returns what went wrong with which. */
  const playAll = async (
    clients: readonly Client[],
    play: (client: Client) => Promise<readonly string[]>,
  ): Promise<readonly string[]> => {
    const playing = clients.map((client) =>
      inTurn(async () => (await play(client)).map((text) => `${client.name}: ${text}`)),
    )
    return (await Promise.all(playing)).flat()
  }
  const readsRight = async (client: Client, state: string): Promise<readonly string[]> => {
    const repo = scene().hub.world.find(client.repoType, repoOf(client, state))?.repo
    if (repo === undefined) throw new Error(`no repo of ${client.name}`)
    const wanted = [...client.files.map((path) => sha256Of(repo, 'main', path)), ...(client.prints ?? [])]
    const { status, said } = await read(client, state)
    const isRight = status === 0 && wanted.every((part) => said.includes(part))
    return isRight ? [] : [`${state}: ended with ${status}: ${said}`]
  }

  it('reads the right bytes through what gateways do', async () => {
    const { faults, world } = scene().hub
    for (const client of PLAYING)
      for (const [state, troubles] of Object.entries(HARMLESS)) {
        const id = repoOf(client, state)
        const { objectId = '' } = world.find(client.repoType, id)?.repo ?? {}
        for (const { isKept, ...fault } of troubles) {
          const part = fault.where === 'cdn' ? objectId : id
          faults.add({
            times: ALWAYS,
            ...fault,
            match: (seen) => seen.url.includes(part) && (isKept === undefined || seen.isKept),
          })
        }
      }
    const wrong = await playAll(PLAYING, async (client) => {
      const found: string[] = []
      for (const state of Object.keys(HARMLESS)) found.push(...(await readsRight(client, state)))
      return found
    })
    expect(wrong).toEqual([])
    expectManners(scene().hub)
  })

  // That a clone outlives the Hub is in the table.
  const storing = PLAYING.filter((client) => client.clones !== true)

  it('reads what is stored while a filter answers in the place of the Hub', async () => {
    const { hub, mirror } = scene()
    for (const client of storing) await fill(mirror.url, client, repoOf(client, STORED), hub.world)
    hub.faults.add({ where: 'hub', times: ALWAYS, edge: EDGE })
    expect(await playAll(storing, (client) => readsRight(client, STORED))).toEqual([])
  })

  it.each(Object.entries(REFUSING))('learns of %s', async (_name, [damage, words, code]) => {
    scene().hub.faults.add({ where: 'hub', times: ALWAYS, ...damage })
    const wrong = await playAll(PLAYING, async (client) => {
      const { status, said, waits } = await read(client, COLD)
      return status !== 0 && tells(client, said, { words, status: code }) && !said.includes('<html>')
        ? []
        : [`ended with ${status} after ${JSON.stringify(waits)}: ${said}`]
    })
    expect(wrong).toEqual([])
  })

  it('is refused at once, with the reason, by a mirror that is offline', async () => {
    await scene().restartMirror({ HUBMIRROR_OFFLINE: 'on' })
    scene().hub.ledger.clear()
    const wrong = await playAll(PLAYING, async (client) => {
      const { status, said, waits } = await read(client, COLD)
      return status !== 0 && tells(client, said, { words: /offline/, status: 404 }) && waits.length === 0
        ? []
        : [`ended with ${status} after ${JSON.stringify(waits)}: ${said}`]
    })
    expect(wrong).toEqual([])
    expect(scene().hub.ledger.requests()).toEqual([])
  })
})

/** Clients that print the status of a refusal by number or name, and not the reason. */
const SILENT: ReadonlySet<string> = new Set([
  'aria2',
  'datasets, JSON',
  'hf-hub 0.4',
  'hf-hub 0.5',
  'transformers.js in Node',
])
/** Clients that try again after a 5xx, and then print its status and not the reason. */
const SILENT_AFTER_RETRIES: ReadonlySet<string> = new Set(['transformers 4'])
const STATUS_NAMES: Readonly<Record<number, string>> = {
  404: 'Could not locate file|errorCode=3',
  429: 'Too Many Requests',
  502: 'Bad gateway',
  503: 'Service unavailable',
}

/** Whether a client says why it was refused, as far as it says that at all. */
function tells(client: Client, said: string, { words, status }: { words: RegExp; status: number }): boolean {
  const isSilent = SILENT.has(client.name) || (status >= 500 && SILENT_AFTER_RETRIES.has(client.name))
  const isNamed = isSilent && new RegExp(`${status}|${STATUS_NAMES[status]}`, 'i').test(said)
  return isNamed || words.test(said)
}

/** As Ollama and llama.cpp ask. */
const MANIFEST_READERS = [
  { 'user-agent': 'ollama/0.13', accept: 'application/vnd.docker.distribution.manifest.v2+json' },
  { 'user-agent': 'llama-cpp/b6000', accept: 'application/json' },
]

/** Brings all that a client may read into the store. */
async function fill(url: string, { repoType }: Client, id: string, world: World): Promise<void> {
  const prefix = repoType === 'models' ? '' : `${repoType}/`
  const paths = [...(world.find(repoType, id)?.repo.resolve('main')?.files.keys() ?? [])]
  const targets = [
    `api/${repoType}/${id}/revision/main`,
    `api/${repoType}/${id}/tree/main?recursive=true`,
    ...paths.map((path) => `${prefix}${id}/resolve/main/${path}`),
  ]
  const manifests = repoType === 'models' ? MANIFEST_READERS : []
  for (const [target, headers] of [
    ...targets.map((target) => [target, {}] as const),
    ...manifests.map((reader) => [`v2/${id}/manifests/latest`, reader] as const),
  ]) {
    const { origin, pathname, search } = new URL(`${url}/${target}`)
    const { status } = await ask(origin, pathname + search, { headers })
    expect([target, status]).toEqual([target, 200])
  }
}
