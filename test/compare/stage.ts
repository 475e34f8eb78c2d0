// What a situation plays on: a Hub, a contestant before it, the clients, and the words for what became of them.

import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Finished, run } from '../clients/support/run.ts'
import type { LedgerEntry } from '../hub-simulator/ledger.ts'
import { bytesOf } from '../hub-simulator/repos.ts'
import type { Hub } from '../hub-simulator/server.ts'
import { startHub } from '../hub-simulator/server.ts'
import { type Contestant, type ContestantName, startContestant } from './contestants.ts'
import { type Answer, type Call, type Player, startPlayer } from './player.ts'
import { compareWorld } from './world.ts'

/** Where a client stands: in a network open to the internet, in one where only the mirror is reached, and so on. */
export type Place = 'open' | 'closed' | 'below-path' | 'xet'

/** The large file of every repo, and a small one. */
export const LARGE = 'model.safetensors'
export const SMALL = 'config.json'

/** One contestant with everything around it. The caller must close it. */
export class Stage {
  readonly hub: Hub
  readonly contestant: Contestant
  readonly #players = new Map<Place, Player>()

  constructor(hub: Hub, contestant: Contestant) {
    this.hub = hub
    this.contestant = contestant
  }

  /** Lets huggingface_hub do one thing, and forgets before what the Hub saw so far. */
  async ask(call: Call, place: Place = 'open'): Promise<Answer> {
    this.hub.ledger.clear()
    const { url, urlBelowPath } = this.contestant
    const options = {
      endpoint: place === 'below-path' ? urlBelowPath : url,
      direct: place !== 'closed',
      xet: place === 'xet',
    }
    const known = this.#players.get(place)
    if (known?.alive === false) await known.stop()
    const player = known?.alive === true ? known : await startPlayer(options)
    this.#players.set(place, player)
    return player.play(call)
  }

  /** Downloads a file, and says in a few words what the user has then. */
  async file(repo: string, path: string, as: { token?: string; place?: Place } = {}): Promise<string> {
    const token = as.token === undefined ? {} : { token: as.token }
    const answer = await this.ask({ call: 'file', repo, path, ...token }, as.place)
    return this.outcome(answer, digest(this.bytes(repo, path)))
  }

  /** `ok` when the answer is the right one; else the exception, or what is wrong; and the way it took. */
  outcome(answer: Answer, right: unknown): string {
    if (!answer.ok) return answer.error === 'hangs' ? '**hangs**' : `\`${answer.error}\``
    if (JSON.stringify(answer.value) !== JSON.stringify(right)) return '**wrong bytes, no error**'
    return this.past().length > 0 ? 'ok, but past it' : 'ok'
  }

  /** Which requests came to the Hub or the CDN from the client itself: all that stand here say that they passed. */
  past(): readonly LedgerEntry[] {
    return this.hub.ledger.requests(
      ({ headers }) => headers.via === undefined && headers['x-forwarded-for'] === undefined,
    )
  }

  /** `text`, and for what went well whether its bytes came from the origin this time. */
  withSource(text: string): string {
    if (text !== 'ok') return text
    return this.hub.ledger.bytes() > 0 ? 'ok, fetched again' : 'ok, from the cache'
  }

  /** Runs a command line client in a home of its own, in which `half` may lie already. Returns the digest of `out`. */
  async command(
    command: string,
    args: readonly string[],
    half?: { readonly name: string; readonly bytes: Uint8Array },
  ): Promise<Finished & { readonly digest: string | undefined }> {
    this.hub.ledger.clear()
    const home = await mkdtemp(join(tmpdir(), 'hubmirror-compare-'))
    try {
      if (half !== undefined) await writeFile(join(home, half.name), half.bytes)
      const finished = await run(command, args, { home, direct: true })
      const bytes = await readFile(join(home, 'out')).catch(() => undefined)
      return { ...finished, digest: bytes === undefined ? undefined : digest(bytes) }
    } finally {
      await rm(home, { recursive: true, force: true })
    }
  }

  bytes(repo: string, path: string, start?: number, end?: number): Buffer {
    const found = this.hub.world.find('models', repo)
    if (found === undefined) throw new Error(`no ${repo}`)
    return bytesOf(found.repo, 'main', path, start, end)
  }

  async close(): Promise<void> {
    for (const player of this.#players.values()) await player.stop()
    await this.contestant.stop()
    await this.hub.close()
  }
}

/** Sets the stage for one contestant. */
export async function openStage(name: ContestantName): Promise<Stage> {
  const hub = await startHub({ world: compareWorld() })
  return new Stage(hub, await startContestant(name, hub))
}

export function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
