// Git over smart HTTP. A bare repository is made from the commits of a simulated repo, and `git http-backend` serves it. What
// clients push becomes commits of the simulated repo. Knows nothing of LFS but the form of a pointer.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { callerOf, judgeFiles, judgeWrite } from './access.ts'
import { readContent } from './content.ts'
import type { Exchange, HeaderMap } from './exchange.ts'
import { type HubState, redirect, refuse, webPath } from './hub.ts'
import type { Change, Commit, Repo, RepoType } from './repos.ts'

const BUILD_REF = 'refs/simulated/all'
/** As the Hub words it for git; API routes are challenged for Bearer. */
const CHALLENGE = 'Basic realm="Authentication required", charset="UTF-8"'
const POINTER = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\noid sha256:([0-9a-f]{64})\nsize \d+\n$/

/** The bare repositories of one simulator. The folder is made with the first request, and removed by `close`. */
export class GitServer {
  #root: Promise<string> | undefined
  /** The commits that each bare repository has, by the object id of its repo. */
  readonly #imported = new Map<string, Set<string>>()
  #queue: Promise<unknown> = Promise.resolve()

  /** Answers /{P}{id}[.git]/{info/refs | git-upload-pack | git-receive-pack}. `service` is the part behind the id. */
  async answer(
    hub: HubState,
    exchange: Exchange,
    { type, id, service }: { readonly type: RepoType; readonly id: string; readonly service: string },
  ): Promise<void> {
    const found = hub.world.find(type, id.replace(/\.git$/, ''))
    const caller = callerOf(hub.world, exchange.request.headers)
    const isWrite = [service, exchange.query.get('service')].includes('git-receive-pack')
    const body = await exchange.readBody()
    const refusal = (isWrite ? judgeWrite : judgeFiles)(hub.world, caller, found)
    // Git sends its credentials only after a challenge, which the Hub sends it for gated repos as well.
    if (refusal?.status === 401) return refuse(exchange, { ...refusal, challenge: true }, CHALLENGE)
    if (refusal !== undefined) return refuse(exchange, refusal)
    if (found === undefined) throw new Error('a missing repo is refused')
    if (found.how !== 'exact' && service === 'info/refs')
      return redirect(exchange, 307, `/${webPath(found.repo)}.git/info/refs?${exchange.rawQuery}`)
    const user = caller.kind === 'user' ? caller.name : ''
    const output = await this.#inTurn(async () => {
      const folder = await this.#update(found.repo)
      const answered = await backend(folder, exchange, { service, body, user })
      if (isWrite && service === 'git-receive-pack') await this.#adopt(found.repo, folder)
      return answered
    })
    await exchange.send(parseCgi(output))
  }

  async close(): Promise<void> {
    await this.#queue
    const root = await this.#root
    if (root !== undefined) await rm(root, { recursive: true, force: true })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work)
    this.#queue = turn.catch(() => undefined)
    return turn
  }

  /** Brings the bare repository of a repo up to date, and returns its folder. */
  async #update(repo: Repo): Promise<string> {
    this.#root ??= mkdtemp(join(tmpdir(), 'hub-git-'))
    const folder = join(await this.#root, `${repo.objectId}.git`)
    let imported = this.#imported.get(repo.objectId)
    if (imported === undefined) {
      await git(folder, ['init', '--quiet', '--bare', '--initial-branch=main', folder], { cwd: '/' })
      for (const name of ['http.receivepack', 'uploadpack.allowFilter', 'uploadpack.allowAnySHA1InWant'])
        await git(folder, ['config', name, 'true'])
      this.#imported.set(repo.objectId, (imported = new Set()))
    }
    const has = imported
    const missing = [...repo.commits.values()].filter(({ id }) => !has.has(id))
    if (missing.length > 0)
      await git(folder, ['fast-import', '--quiet', '--force'], { input: stream(missing) })
    for (const { id } of missing) imported.add(id)
    // Without a file for each ref there are no leftovers of refs that were deleted.
    await rm(join(folder, 'refs'), { recursive: true, force: true })
    await mkdir(join(folder, 'refs'))
    const lines = [...repo.refs]
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([ref, id]) => `${id} ${ref}\n`)
    await writeFile(
      join(folder, 'packed-refs'),
      `# pack-refs with: peeled fully-peeled sorted \n${lines.join('')}`,
    )
    return folder
  }

  /** Takes over what a push has changed. */
  async #adopt(repo: Repo, folder: string): Promise<void> {
    const listed = (await git(folder, ['for-each-ref', '--format=%(objectname) %(refname)'])).toString()
    const refs = new Map(listed.split('\n').flatMap((line) => (line === '' ? [] : [pair(line)])))
    for (const [ref, id] of refs) {
      const known = [...this.#known(repo)].map((commit) => `^${commit}`)
      const pushed = (await git(folder, ['rev-list', '--reverse', '--topo-order', id, ...known])).toString()
      for (const commit of pushed.split('\n').filter(Boolean)) {
        await adoptCommit(repo, folder, commit)
        this.#known(repo).add(commit)
      }
      repo.ref(ref, id)
    }
    for (const ref of repo.refs.keys()) if (!refs.has(ref)) repo.refs.delete(ref)
  }

  #known(repo: Repo): Set<string> {
    return this.#imported.get(repo.objectId) ?? new Set()
  }
}

function pair(line: string): readonly [string, string] {
  const [id = '', ref = ''] = line.split(' ')
  return [ref, id]
}

async function adoptCommit(repo: Repo, folder: string, id: string): Promise<void> {
  const text = (await git(folder, ['cat-file', 'commit', id])).toString()
  const end = text.indexOf('\n\n')
  const [head, message] = [text.slice(0, end), text.slice(end + 2)]
  const parent = /^parent ([0-9a-f]{40})$/m.exec(head)?.[1]
  const atMs = Number(/^committer .* (\d+) [+-]\d{4}$/m.exec(head)?.[1] ?? 0) * 1000
  const files: Record<string, Change> = {}
  const tree = (await git(folder, ['ls-tree', '-r', '-z', id])).toString()
  for (const line of tree.split('\0').filter(Boolean)) {
    const tab = line.indexOf('\t')
    const blob = line.slice(0, tab).split(' ')[2] ?? ''
    const bytes = await git(folder, ['cat-file', 'blob', blob])
    const oid = bytes.length < 200 ? POINTER.exec(bytes.toString())?.[1] : undefined
    const content = oid === undefined ? undefined : repo.world.lfsObjects.get(oid)
    files[line.slice(tab + 1)] = content === undefined ? bytes : { lfs: content }
  }
  repo.adopt({ id, parent, message, atMs }, files)
}

/** Commits as `git fast-import` reads them. */
function stream(commits: readonly Commit[]): Buffer {
  const parts: Buffer[] = []
  const text = (line: string): void => void parts.push(Buffer.from(`${line}\n`))
  const data = (bytes: Buffer): void =>
    void parts.push(Buffer.from(`data ${bytes.length}\n`), bytes, LINE_END)
  const marks = new Map<string, number>()
  for (const [index, { id, parent, message, atMs, files }] of commits.entries()) {
    const person = `Simulator <hub@simulator.invalid> ${atMs / 1000} +0000`
    marks.set(id, index + 1)
    if (parent === undefined) text(`reset ${BUILD_REF}\n`)
    text(`commit ${BUILD_REF}\nmark :${index + 1}\nauthor ${person}\ncommitter ${person}`)
    data(Buffer.from(message.endsWith('\n') ? message : `${message}\n`))
    if (parent !== undefined) {
      const mark = marks.get(parent)
      text(`from ${mark === undefined ? parent : `:${mark}`}`)
    }
    text('deleteall')
    for (const { path, content, lfs } of files.values()) {
      text(`M 100644 inline "${path.replaceAll(/["\\]/g, '\\$&')}"`)
      data(lfs === undefined ? readContent(content) : Buffer.from(lfs.pointer))
    }
    text('')
  }
  return Buffer.concat(parts)
}

const LINE_END = Buffer.from('\n')

function backend(
  folder: string,
  exchange: Exchange,
  { service, body, user }: { readonly service: string; readonly body: Buffer; readonly user: string },
): Promise<Buffer> {
  const env = {
    GIT_PROJECT_ROOT: folder,
    GIT_HTTP_EXPORT_ALL: '1',
    PATH_INFO: `/${service}`,
    REQUEST_METHOD: exchange.method,
    QUERY_STRING: exchange.rawQuery,
    CONTENT_TYPE: exchange.header('content-type') ?? '',
    CONTENT_LENGTH: String(body.length),
    HTTP_CONTENT_ENCODING: exchange.header('content-encoding') ?? '',
    GIT_PROTOCOL: exchange.header('git-protocol') ?? '',
    REMOTE_ADDR: '127.0.0.1',
    REMOTE_USER: user,
  }
  return git(folder, ['http-backend'], { input: body, env })
}

/** The answer of a CGI program (RFC 3875). */
function parseCgi(output: Buffer): { status: number; headers: HeaderMap; body: Buffer } {
  const end = output.indexOf('\r\n\r\n')
  const headers: HeaderMap = {}
  let status = 200
  for (const line of output.subarray(0, end).toString('latin1').split('\r\n')) {
    const colon = line.indexOf(':')
    const [name, value] = [line.slice(0, colon), line.slice(colon + 1).trim()]
    if (name === 'Status') status = Number(value.split(' ')[0])
    else headers[name] = value
  }
  return { status, headers, body: output.subarray(end + 4) }
}

/** Runs git in a bare repository, without the settings of this machine. Rejects with its words when it fails. */
async function git(
  folder: string,
  args: readonly string[],
  options: {
    readonly input?: Buffer
    readonly env?: Readonly<Record<string, string>>
    readonly cwd?: string
  } = {},
): Promise<Buffer> {
  const child = spawn('git', args, {
    cwd: options.cwd ?? folder,
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: '/dev/null',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: '/dev/null',
      ...options.env,
    },
  })
  const output: Buffer[] = []
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  // A program that ends before it has read everything says why by its status.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input)
  const [status] = (await once(child, 'close')) as [number | null]
  if (status !== 0) throw new Error(`git ${args[0]} ended with ${status}: ${said}`)
  return Buffer.concat(output)
}
