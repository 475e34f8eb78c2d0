// The columns of the table: what is asked of a client in each, what must come of it, and what it may cost the Hub. The
// columns of a client are played in their order on one stage, since some begin with what others have stored.

import { createHash } from 'node:crypto'
import { readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Of } from '../../hub-simulator/repos.ts'
import { eventually } from '../../support/eventually.ts'
import { storedGits } from '../../support/git-client.ts'
import type { Finished } from '../support/run.ts'
import { TOKENS } from '../support/world.ts'
import type { Ask, Client, Column, Command } from './client.ts'
import type { Stage } from './stage.ts'
import { LARGE_BYTES, REPOS, repoOf, WRITER } from './world.ts'

/** Where a client can be run. */
export type Reading = Pick<Stage, 'hub' | 'endpoint' | 'newHome' | 'start'>

/** What a column found: a word beside the mark, if there is one. Throws when the client did not do as it should. */
type Play = (client: Client, stage: Stage) => Promise<string | undefined>

export const PREFIX = '/hugging-face'
const UPLOAD = Buffer.alloc(12_000_000, 'what a client of the table uploads. ')
const UPLOAD_SHA256 = createHash('sha256').update(UPLOAD).digest('hex')
/** So much of the large file has reached the client when it is killed. */
const KILLED_AT_BYTES = 4_000_000

/** No more comes of an answer by which the mirror asks for a size. */
const SIZE_BYTES = 100

/** How each column is played. Returns undefined for a column that the client has no way to play. */
export function playOf(client: Client, column: Column): Play | undefined {
  if (column === 'resume' && client.pull === undefined) return undefined
  if (column === 'upload' && client.upload === undefined) return undefined
  if (column === 'private' && client.isAnonymous === true) return undefined
  if (client.cannot?.[column] !== undefined) return undefined
  return PLAYS[column]
}

const PLAYS: Readonly<Record<Column, Play>> = {
  public: (client, stage) => expectDownload(client, stage, REPOS.open),

  async again(client, stage) {
    await expectRead(client, stage, { repo: REPOS.open })
    const bytes = stage.hub.ledger.bytes()
    if (bytes > SIZE_BYTES) throw new Error(`${bytes} bytes came from the Hub again`)
    return undefined
  },

  private: (client, stage) => expectRead(client, stage, { repo: REPOS.secret, token: TOKENS.alice }),

  async gated(client, stage) {
    const { endpoint } = stage
    expectRefused(await run(stage, client.read({ endpoint: endpoint(), repo: REPOS.gated })), client.gated)
    if (client.isAnonymous === true) return 'refused'
    return expectRead(client, stage, { repo: REPOS.gated, token: TOKENS.alice })
  },

  async policy(client, stage) {
    const command = client.read({ endpoint: stage.endpoint(), repo: REPOS.denied })
    expectRefused(await run(stage, command), client.policy)
    const asked = stage.hub.ledger.requests({ url: REPOS.denied })
    if (asked.length > 0) throw new Error(`the Hub was asked for ${REPOS.denied}`)
    return undefined
  },

  resume: playResume,
  upload: playUpload,
  'origin killed': playOriginKilled,

  async offline(client, stage) {
    await stage.restart({ HUBMIRROR_OFFLINE: 'on' })
    // Until it ended, the mirror may have fetched what was cloned.
    stage.hub.ledger.clear()
    await expectRead(client, stage, { repo: REPOS.open })
    expectNoRequests(stage)
    return undefined
  },

  async prefix(client, stage) {
    await stage.restart({ HUBMIRROR_BASE_PATH: PREFIX })
    return expectRead(client, stage, { repo: REPOS.prefixed })
  },
}

/** Kills the client in the middle of a large file, and lets it start again at home. */
async function playResume(client: Client, stage: Stage): Promise<string> {
  const { hub } = stage
  const home = await stage.newHome()
  const command = client.pull?.({ endpoint: stage.endpoint(), repo: REPOS.large })
  if (command === undefined) throw new Error('nothing to resume')
  // The second half of the file waits at the CDN.
  hub.faults.add({
    where: 'cdn',
    method: 'GET',
    asksFor: LARGE_BYTES - 1,
    stallAfterBytes: LARGE_BYTES / 2,
    times: 100,
  })
  const running = stage.start(command, home)
  try {
    await eventually(
      () => largestFile(home),
      (bytes) => bytes >= KILLED_AT_BYTES,
      60_000,
    )
  } finally {
    running.kill()
    await running.finished
    hub.faults.clear()
  }
  const before = stage.mirror().log().length
  expectPrinted(await stage.start(command, home).finished, [digest(stage, REPOS.large, 'large.bin')])
  const bytes = hub.ledger.bytes()
  if (bytes > LARGE_BYTES * 1.25) throw new Error(`${bytes} bytes of the Hub for a file of ${LARGE_BYTES}`)
  return sentWhole(stage.mirror().log().slice(before)) ? 'starts again' : 'goes on'
}

/** Whether a line of the mirror's log is of an answer with the whole of the large file. */
function sentWhole(log: string): boolean {
  return log.split('\n').some((line) => /large\.bin/.test(line) && line.includes(`"bytes":${LARGE_BYTES},`))
}

async function largestFile(folder: string): Promise<number> {
  let largest = 0
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue
    const { size } = await stat(join(entry.parentPath, entry.name)).catch(() => ({ size: 0 }))
    largest = Math.max(largest, size)
  }
  return largest
}

async function playUpload(client: Client, stage: Stage): Promise<undefined> {
  const home = await stage.newHome()
  const file = join(home, 'large.bin')
  await writeFile(file, UPLOAD)
  const ask = { endpoint: stage.endpoint(), repo: REPOS.upload, token: WRITER, file }
  const command = client.upload?.(ask)
  if (command === undefined) throw new Error('nothing to upload')
  expectPrinted(await stage.start(command, home).finished, [])
  const { world } = stage.hub
  const uploaded = repoOf(world, REPOS.upload).resolve('main')?.files.get('large.bin')?.lfs?.sha256
  if (uploaded !== UPLOAD_SHA256) throw new Error('the Hub has not got what was uploaded')
  for (const { method, headers } of stage.hub.ledger.requests({ server: 'cdn' }))
    if (headers.via?.includes('hubmirror') !== true) throw new Error(`a ${method} went past the mirror`)
  return undefined
}

/** The Hub goes away while it sends a file, and comes back. Then it goes for good, and what is stored is read again. */
async function playOriginKilled(client: Client, stage: Stage): Promise<undefined> {
  const { hub } = stage
  if (client.clones !== true) await readThroughRestart(client, stage)
  else await expectDownload(client, stage, REPOS.broken)
  await hub.stop()
  try {
    await expectRead(client, stage, { repo: REPOS.broken })
  } finally {
    await hub.start()
  }
  return undefined
}

async function readThroughRestart(client: Client, stage: Stage): Promise<void> {
  const { hub } = stage
  // Larger than an answer of one byte, by which some clients ask for a size.
  const stall = { method: 'GET', stallAfterBytes: 500, times: 100 }
  hub.faults.add({ where: 'cdn', ...stall })
  hub.faults.add({ where: 'hub', match: /\/resolve/, ...stall })
  const ask = { endpoint: stage.endpoint(), repo: REPOS.broken }
  const running = stage.start(client.read(ask), await stage.newHome())
  const stalled = hub.faults.whenStalled()
  const first = await Promise.race([stalled, running.finished])
  if (first !== undefined) throw new Error(`ended before the Hub did: ${first.stdout}${first.stderr}`)
  await hub.stop()
  hub.faults.clear()
  await hub.start()
  expectPrinted(await running.finished, wanted(client, stage, REPOS.broken))
}

/** The same as expectRead, for a public repo; resolves when the mirror has stored what it fetches after a clone. */
export async function expectDownload(
  client: Client,
  stage: Stage,
  repo: string,
  isCloned = client.clones === true,
): Promise<undefined> {
  const store = join(stage.mirror().cacheDir, 'store')
  const { length } = await storedGits(store)
  await expectRead(client, stage, { repo })
  if (isCloned)
    await eventually(
      () => storedGits(store),
      (found) => found.length > length,
      60_000,
    )
  return undefined
}

/** Has the client read a repo in a new home, and expects the right bytes. Throws with all that it printed. */
export async function expectRead(
  client: Client,
  stage: Reading,
  ask: Pick<Ask, 'repo' | 'token' | 'revision'>,
): Promise<undefined> {
  const finished = await run(stage, client.read({ endpoint: stage.endpoint(), ...ask }))
  expectPrinted(finished, wanted(client, stage, ask.repo, ask.revision))
  const carried = stage.hub.ledger.requests({ server: 'cdn' }).filter(({ headers }) => headers.authorization)
  if (carried.length > 0) throw new Error('a credential reached the CDN')
  return undefined
}

/** Runs a command in a new home. */
export async function run(stage: Reading, command: Command): Promise<Finished> {
  return stage.start(command, await stage.newHome()).finished
}

function wanted(client: Client, stage: Reading, repo: string, revision?: string): readonly string[] {
  return [...client.files.map((path) => digest(stage, repo, path, revision)), ...(client.prints ?? [])]
}

function digest(stage: Reading, repo: string, path: string, revision = 'main'): string {
  return sha256Of(repoOf(stage.hub.world, repo), revision, path)
}

function expectPrinted({ status, stdout, stderr }: Finished, parts: readonly string[]): void {
  const lacks = parts.filter((part) => !stdout.includes(part))
  if (status === 0 && lacks.length === 0) return
  throw new Error(`ended with ${status}, without ${JSON.stringify(lacks)}:\n${stdout}${stderr}`)
}

/** Throws with all that was printed, unless the client has failed with these words. */
export function expectRefused({ status, stdout, stderr }: Finished, words: RegExp): void {
  if (status !== 0 && words.test(stdout + stderr)) return
  throw new Error(`ended with ${status}, and not with ${words}:\n${stdout}${stderr}`)
}

function expectNoRequests(stage: Stage): void {
  const [first] = stage.hub.ledger.requests()
  if (first !== undefined) throw new Error(`the Hub was asked for ${first.url}`)
}
