// Plays the cells of the access table against a mirror before a simulated Hub, one after the other, each on a repo of
// its own, and compares every answer with the rules. Nothing is skipped: a cell without a test is a missing test.

import { Agent } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { changeTokenFile, mirrorTokensPath } from '../../src/callers/token-file.ts'
import { Secret } from '../../src/config/secret.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import {
  type Asked,
  bytesOf,
  type Cell,
  type CellRepo,
  cellsOf,
  codeOf,
  credentialOf,
  type Expected,
  expectedOf,
  type Group,
  isDown,
  isFile,
  isHead,
  isReader,
  issuedTokens,
  kindOf,
  makeRepo,
  questionOf,
  REQUESTS,
  type Request,
  SECRETS,
  type State,
  tableWorld,
  targetOf,
} from './access-table.ts'
import { ask, type Reply } from './ask.ts'
import { manualClock } from './clock.ts'
import { eventually } from './eventually.ts'
import { findAny } from './find-any.ts'
import { policiesOf } from './policies.ts'
import { filesBelow, type RunningMirror, startMirror } from './start-mirror.ts'

const ACCESS_TTL_MS = 60_000
const GRACE_MS = 2 * ACCESS_TTL_MS
/** The address of a file at a commit. */
const PINNED = /\/resolve\/[0-9a-f]{40}\//

const GROUPS: readonly Group[] = ['plain', 'issued']

/** Who holds the mirror token `ci` is lent the company's Hub token. */
const RULES = '- {action: use-token, token: company, match: {repo: acme/*, caller: {mirrorToken: ci}}}'

/** Declares the tests of a state, each with `cache.private` off and on. */
export function describeTable(state: State, groups = GROUPS, requests: readonly Request[] = REQUESTS): void {
  const modes = groups.flatMap((group) => [false, true].map((cachePrivate) => [cachePrivate, group] as const))
  for (const [cachePrivate, group] of modes) {
    const cells = cellsOf(state, cachePrivate, group, requests)
    describe(`${state}, cache.private ${cachePrivate ? 'on' : 'off'}, ${group} tokens`, () => {
      const table = new Table(state)
      beforeAll(() => table.begin(cells, cachePrivate, group), 600_000)
      afterAll(() => table.end(), 300_000)
      it.each(cells.map((cell, index) => [cell.kind, cell.caller, cell.request, index] as const))(
        '%s repo, %s, %s',
        async (_kind, _caller, _request, index) => {
          await table.play(cells[index]!, index)
        },
      )
      it('leaves nothing of what is closed on the disk, unless it may, and no token anywhere', async () => {
        await table.searchDisk(cells, cachePrivate)
      })
    })
  }
}

interface Prepared {
  readonly made: CellRepo
  /** What the Hub said to `first` while the mirror was warmed; undefined for a cell that does not get that. */
  readonly stored: Reply | undefined
}

class Table {
  readonly #state: State
  readonly #clock = manualClock()
  #hub!: Hub
  #mirror!: RunningMirror
  readonly #prepared: Prepared[] = []
  readonly #texts: string[] = []
  /** Connections of the requests that prepare and check a cell. The request of the cell itself has one of its own. */
  readonly #kept = new Agent({ keepAlive: true })

  constructor(state: State) {
    this.#state = state
  }

  async begin(cells: readonly Cell[], cachePrivate: boolean, group: Group): Promise<void> {
    this.#hub = await startHub({ world: tableWorld() })
    this.#mirror = await startMirror({
      hub: this.#hub,
      monotonic: this.#clock.now,
      config: {
        cachePrivate,
        accessTtlMs: ACCESS_TTL_MS,
        staleGraceMs: this.#state === 'origin down' ? ACCESS_TTL_MS : GRACE_MS,
        ...(group === 'issued' && {
          hubTokens: new Map([['company', Secret.of(SECRETS.company)]]),
          policies: policiesOf(RULES),
        }),
      },
    })
    await changeTokenFile(mirrorTokensPath(this.#mirror.config), () => issuedTokens())
    if (!isDown(this.#state)) return
    // All at once, as it goes away once.
    for (const [index, cell] of cells.entries()) {
      this.#prepared[index] = await this.#warm(cell, index)
      kindOf(cell).turn?.(this.#prepared[index].made.repo)
    }
    await this.#hub.stop()
    this.#clock.advance(ACCESS_TTL_MS)
  }

  async end(): Promise<void> {
    this.#kept.destroy()
    await this.#mirror.close()
    await this.#hub.close()
  }

  /** Asks as the cell says, and holds the answer and what the origin saw against the rules. */
  async play(cell: Cell, index: number): Promise<void> {
    switch (this.#state) {
      case 'cold': {
        const made = makeRepo(this.#hub.world, cell, index)
        kindOf(cell).turn?.(made.repo)
        this.#prepared[index] = { made, stored: undefined }
        return this.#judge(cell, this.#prepared[index], (target) => this.#ask(cell, target))
      }
      case 'warm':
        this.#prepared[index] = await this.#warm(cell, index)
        this.#turn(cell, this.#prepared[index].made)
        return this.#judge(cell, this.#prepared[index], (target) => this.#ask(cell, target))
      case 'during a pull':
        return this.#duringPull(cell, index)
      case 'origin down':
      case 'origin down, in grace':
        return this.#judge(cell, this.#prepared[index]!, (target) => this.#ask(cell, target))
      default:
        this.#state satisfies never
    }
  }

  /** Nothing but what the rules let be stored, by content and by name. */
  async searchDisk(cells: readonly Cell[], cachePrivate: boolean): Promise<void> {
    // Of what still comes in, nothing could be found.
    await this.#settled()
    const audit = await this.#mirror.auditText()
    const everything = [...this.#texts, this.#mirror.logText(), audit, await this.#mirror.metrics()].join(
      '\n',
    )
    for (const secret of Object.values(SECRETS)) expect(everything.includes(secret)).toBe(false)
    const content = Buffer.concat(
      [...(await filesBelow(this.#mirror.cacheDir))].flatMap(([path, bytes]) => [
        Buffer.from(`\n${path}\n`),
        bytes,
      ]),
    )
    expect(content.length).toBeGreaterThan(0)
    const told = findAny(
      content,
      this.#prepared.flatMap(({ made }) => [...made.canaries, `models/${made.id}`]),
    )
    expect(told.size, 'what is open is found').toBeGreaterThan(0)
    for (const [index, cell] of cells.entries()) {
      if (kindOf(cell).before === 'open' || cell.kind === 'no longer gated') continue
      const canaries = this.#prepared[index]?.made.canaries ?? []
      expect(canaries.length).toBeGreaterThan(0)
      // With the switch on, the bytes of the closed lie under their digest; what names the repo never does.
      const [id = '', text = '', commit = '', oid = '', sha256 = '', ...pieces] = canaries
      const forbidden = cachePrivate ? [id, commit] : [id, text, commit, oid, sha256, ...pieces]
      for (const canary of forbidden) {
        if (cachePrivate && canary === id) {
          // The small file is made of the id: its name in a fact is what must not be.
          expect(told.has(`models/${id}`), `a fact names ${id}`).toBe(false)
          continue
        }
        expect(canary.length).toBeGreaterThan(8)
        expect(told.has(canary), `${cell.kind}, ${cell.request}: the disk tells of ${id}`).toBe(false)
      }
    }
  }

  #turn(cell: Cell, made: CellRepo): void {
    const { turn } = kindOf(cell)
    if (turn === undefined) return
    turn(made.repo)
    this.#clock.advance(ACCESS_TTL_MS)
  }

  /**
   * A caller with the right has had what the cell asks for. The cell's own caller has, too, where that is a right that ends, or
   * outlasts the origin.
   */
  async #warm(cell: Cell, index: number): Promise<Prepared> {
    const made = makeRepo(this.#hub.world, cell, index)
    const target = targetOf(cell.request, made.id)
    const own = questionOf(cell).token
    const isOwnDue = kindOf(cell).turn !== undefined || this.#state === 'origin down, in grace'
    const callers = [SECRETS.first, own].slice(0, isOwnDue && isReader(cell) ? 2 : 1)
    for (const token of callers) {
      // A file first: a list is stored only for a repo that is known to be public.
      const small = targetOf('GET small', made.id)
      for (const asked of isFile(cell) ? [target] : [small, target])
        expect((await ask(this.#mirror.url, asked, { token, agent: this.#kept })).status).toBe(200)
    }
    await this.#settled()
    return { made, stored: await this.#stored(cell, target) }
  }

  /** What is stored of a target, as the Hub says it to a reader; undefined for a cell that must not get it. */
  #stored(cell: Cell, target: string): Promise<Reply> | undefined {
    if (expectedOf(cell, false).answer !== 'as stored') return undefined
    return this.#direct({ ...cell, caller: 'member' }, target, SECRETS.first)
  }

  async #settled(): Promise<void> {
    await this.#mirror.pulls.ended()
  }

  /** The bytes that `first` pulls stop half-way; the cell asks; then the rest comes. */
  async #duringPull(cell: Cell, index: number): Promise<void> {
    const { faults, world } = this.#hub
    const made = makeRepo(world, cell, index)
    const isSmall = cell.request.endsWith('small')
    const target = targetOf(isSmall ? 'GET small' : 'GET large', made.id)
    const small = kindOf(cell).before === 'open' ? /^\/api\/resolve-cache\// : /\/resolve\//
    const fault = faults.add(
      isSmall
        ? { where: 'hub', method: 'GET', match: small, stallAfterBytes: 20 }
        : { where: 'cdn', method: 'GET', stallAfterBytes: 20_000 },
    )
    const pull = ask(this.#mirror.url, target, { token: SECRETS.first })
    await faults.whenStalled()
    fault.remove()
    const stored = await this.#stored(cell, targetOf(cell.request, made.id))
    this.#turn(cell, made)
    this.#prepared[index] = { made, stored }
    try {
      await this.#judge(cell, this.#prepared[index], async (asked) => {
        const joinedBefore = this.#mirror.pulls.joined
        let isAnswered = false
        const reply = this.#ask(cell, asked).finally(() => {
          isAnswered = true
        })
        await eventually(
          () => isAnswered || this.#mirror.pulls.joined > joinedBefore,
          (isSettled) => isSettled,
        )
        // Only a request that has joined the pull needs its bytes. Before another one is judged, the pull must not go on,
        // because it would ask again.
        if (!isAnswered) faults.release()
        return reply
      })
    } finally {
      faults.release()
    }
    const pulled = await pull
    expect(pulled.body.equals(isSmall ? made.small : made.large), 'the pull itself').toBe(true)
    await this.#settled()
  }

  #ask(cell: Cell, target: string): Promise<Reply> {
    return ask(this.#mirror.url, target, questionOf(cell))
  }

  async #judge(cell: Cell, prepared: Prepared, asking: (target: string) => Promise<Reply>): Promise<void> {
    const { made, stored } = prepared
    const { ledger } = this.#hub
    const target = targetOf(cell.request, made.id)
    // Whether the answer is due from the Hub does not depend on what the Hub says.
    const isDue = expectedOf(cell, false).answer === 'as the Hub'
    const direct = isDue ? await this.#direct(cell, target, credentialOf(cell)) : undefined
    const rule = expectedOf(cell, direct !== undefined && direct.status < 400)
    ledger.clear()
    const got = await asking(target)
    this.#texts.push(JSON.stringify(got.headers), got.body.toString('latin1'))
    await this.#judgeAsked(cell, made, rule)
    if (rule.answer === 'away') {
      expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginUnreachable'])
      expectNothing(got, made)
      return
    }
    if (rule.answer === 'token refused') {
      expect([got.status, got.headers['x-error-code']]).toEqual([401, 'GatedRepo'])
      expect(got.headers['x-error-message']).toContain('expired')
      expectNothing(got, made)
      return
    }
    const due = rule.answer === 'as stored' ? stored : direct
    if (due === undefined) throw new Error('a cell without an oracle')
    if (due.status >= 400) return expectRefusal(got, due, made)
    expectContent(cell, got, due, made)
  }

  /** What the origin saw: whose questions, for what, and how often; a redirect within the Hub keeps the credential. */
  async #judgeAsked(cell: Cell, made: CellRepo, rule: Expected): Promise<void> {
    const { ledger } = this.#hub
    const look = () => {
      const asked = ledger
        .requests({ server: 'hub' })
        .flatMap((entry) => this.#askedOf(cell, made, entry) ?? [])
      return { asked: asked.sort(), cdn: ledger.requests({ server: 'cdn' }).length }
    }
    const due = { asked: [...rule.asked].sort(), cdn: rule.cdn }
    const isSame = (): boolean => {
      const { asked, cdn } = look()
      // What strangers ask beside may still be under way when it would be asked again, and serves both then.
      const strangers = (list: readonly string[]) => new Set(list.filter((one) => one.startsWith('stranger')))
      const own = (list: readonly string[]) => list.filter((one) => one.startsWith('own')).join()
      const isCovered = [...strangers(due.asked)].every((one) => asked.includes(one as Asked))
      return cdn === due.cdn && own(asked) === own(due.asked) && isCovered && asked.length <= due.asked.length
    }
    // A HEAD is answered before the stranger is.
    await eventually(isSame, (same) => same, 10_000).catch(() => undefined)
    if (!isSame() || new Set(due.asked).size === due.asked.length) expect(look()).toEqual(due)
    const own = credentialOf(cell)
    const allowed = new Set([own, undefined])
    for (const entry of ledger.requests({ server: 'hub' })) {
      expect(allowed.has(ledger.credential(entry)), `a credential at ${entry.url}`).toBe(true)
    }
    for (const entry of ledger.requests({ server: 'cdn' })) {
      expect(entry.headers.authorization).toBeUndefined()
      for (const secret of Object.values(SECRETS))
        expect(JSON.stringify([entry.url, entry.headers])).not.toContain(secret)
    }
  }

  #askedOf(cell: Cell, made: CellRepo, entry: Parameters<Hub['ledger']['credential']>[0]): Asked | undefined {
    // Bytes are asked for by commit: the branch may have moved since the HEAD.
    const path = entry.url.replace(/\?.*$/, '').replace(/\/resolve\/[0-9a-f]{40}\//, '/resolve/main/')
    const isOwn = this.#hub.ledger.credential(entry) === credentialOf(cell)
    if (path === targetOf(cell.request, made.id).replace(/\?.*$/, '')) {
      if (!isFile(cell)) return 'own GET document'
      if (entry.method === 'HEAD') return isOwn ? 'own HEAD file' : 'stranger HEAD file'
      return 'own GET file'
    }
    // Where the HEAD was led to, the bytes are asked for without going by the file's own address.
    if (path.startsWith('/api/resolve-cache/') && entry.method === 'GET') {
      const isLed = this.#hub.ledger.requests({ method: 'GET', url: PINNED }).length > 0
      return isLed ? undefined : 'own GET file'
    }
    // Behind the answer to a list a stranger may ask whether it may be kept.
    if (path === `/api/models/${made.id}`) return cell.request === 'tree' ? undefined : 'stranger GET info'
    // A hop after the first: to the pinned file, or to the new name.
    if (path.startsWith('/api/resolve-cache/') || path.includes(`${made.id}-new`)) return undefined
    throw new Error(`nobody asked for ${entry.method} ${entry.url}`)
  }

  /** The Hub's own answer to this caller, redirects followed as a careful client does. */
  async #direct(cell: Cell, target: string, token: string | undefined): Promise<Reply> {
    const question = { ...questionOf(cell), token, agent: this.#kept }
    let base = this.#hub.url
    let path = target
    const facts: Record<string, string | undefined> = {}
    for (let hop = 0; hop < 5; hop += 1) {
      const isHub = base === this.#hub.url
      const reply = await ask(base, path, isHub ? question : { ...question, token: undefined })
      for (const name of ['x-repo-commit', 'x-linked-etag', 'x-linked-size'])
        facts[name] ??= reply.headers[name]
      const { location } = reply.headers
      const isOffHub = location?.startsWith('http') === true
      if (location === undefined || (isOffHub && question.method === 'HEAD')) {
        return { ...reply, headers: { ...reply.headers, ...definedOf(facts) } }
      }
      const url = new URL(location, base)
      base = url.origin
      path = url.pathname + url.search
    }
    throw new Error('a loop at the Hub')
  }
}

function definedOf(facts: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(facts).filter((pair): pair is [string, string] => pair[1] !== undefined),
  )
}

/** No byte of the repo, and nothing that tells of it. */
function expectNothing(got: Reply, made: CellRepo): void {
  const [, ...inside] = made.canaries
  const text = JSON.stringify(got.headers) + got.body.toString('latin1')
  for (const canary of inside) expect(text.includes(canary)).toBe(false)
  for (const name of ['etag', 'x-linked-etag', 'x-linked-size', 'x-repo-commit', 'content-range', 'link'])
    expect(got.headers[name], name).toBeUndefined()
}

function expectRefusal(got: Reply, due: Reply, made: CellRepo): void {
  const code = codeOf(due, due.headers['x-error-code'])
  expect([got.status, got.headers['x-error-code'], got.headers['x-cache']]).toEqual([
    due.status,
    code,
    'REFUSED',
  ])
  // What the mirror adds stands behind what the Hub said.
  expect(got.headers['x-error-message']?.startsWith(due.headers['x-error-message'] ?? '-')).toBe(true)
  expect(got.headers['cache-control']).toMatch(/no-store/)
  expectNothing(got, made)
}

function expectContent(cell: Cell, got: Reply, due: Reply, made: CellRepo): void {
  if (!isFile(cell)) {
    expect(got.status).toBe(200)
    expect(JSON.parse(got.body.toString())).toEqual(withoutXet(due.body))
    return
  }
  const etag = due.headers['x-linked-etag'] ?? due.headers['etag']
  const isRange = cell.request.startsWith('Range')
  expect([got.status, got.headers['etag'], got.headers['x-repo-commit']]).toEqual([
    isRange ? 206 : 200,
    etag,
    due.headers['x-repo-commit'],
  ])
  expect(got.names.some((name) => name.startsWith('x-xet'))).toBe(false)
  const right = bytesOf(cell, made)
  expect(got.headers['content-length']).toBe(String(right.length))
  if (isRange) expect(got.headers['content-range']).toMatch(/^bytes 5-14\//)
  expect([got.whole, got.body.equals(isHead(cell) ? Buffer.alloc(0) : right)]).toEqual([true, true])
  if (!isHead(cell)) expect(due.body.equals(right), 'the oracle').toBe(true)
}

function withoutXet(body: Buffer): unknown {
  return JSON.parse(body.toString(), (key, value: unknown) =>
    key === 'xetHash' ? undefined : key === 'xetEnabled' ? false : value,
  )
}
