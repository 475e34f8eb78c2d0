// `hubmirror doctor --server`: the checks of the machine where the mirror runs, with the settings of the mirror. The origin is
// asked without a token, as the mirror asks for public repos. The words are in doctor/findings-server.ts.

import { access, constants, stat, statfs } from 'node:fs/promises'
import type { Config } from '../config/keys.ts'
import { ask, codeOf, isRedirect, type Seen, type Way } from '../doctor/ask.ts'
import type { Status } from '../doctor/checks.ts'
import {
  SERVER_CHECKS,
  SERVER_FINDINGS,
  SERVER_SKIPPED,
  type ServerFindingId,
} from '../doctor/findings-server.ts'
import { filesOf } from '../doctor/hub-checks.ts'
import { authoritiesOf, type Env } from '../doctor/local-checks.ts'
import type { Line } from '../doctor/report.ts'
import { fill, USUAL_REPO } from '../doctor/table.ts'
import { withoutTrailingSlash } from '../http/base-url.ts'
import { apiSegment, parseRepoId, type Repo } from '../hub/names.ts'
import { resolveTarget } from '../hub/route.ts'
import { MAX_HOPS, redirectTarget } from '../origin/redirect.ts'
import { isRecord, parseRecord } from '../records.ts'
import { errorCode, ifThere } from '../store/atomic.ts'
import { createLayout } from '../store/layout.ts'
import { checkDirectory, UnusableDirectory, writeRefusal } from '../store/prepare.ts'
import { askMirror, MirrorFailed } from './prefetch/ask-mirror.ts'
import type { Reply } from './prefetch/control-client.ts'
import { MirrorSilent } from './prefetch/silence.ts'
import { formatSize } from './store-output.ts'

/** A part of a file that is large enough to measure by. */
const SPEED_BYTES = 3_000_000

export interface ServerOptions {
  /** A public repo by which redirects and speed are checked, and a file of it. */
  readonly repo: Repo | undefined
  readonly file: string | undefined
  readonly version: string
  readonly env: Env
}

/** Runs all checks, and changes nothing. Never rejects for what is wrong. */
export async function checkServerSide(config: Config, options: ServerOptions): Promise<readonly Line[]> {
  return new ServerChecks(config, options).run()
}

type Values = Readonly<Record<string, string | number>>

class ServerChecks {
  readonly #config: Config
  readonly #options: ServerOptions
  readonly #way: Way
  readonly #lines: Line[] = []

  constructor(config: Config, options: ServerOptions) {
    this.#config = config
    this.#options = options
    this.#way = {
      proxyOf: (url) => config.proxies.of(url),
      authorities: authoritiesOf(options.env, ['NODE_EXTRA_CA_CERTS']),
    }
  }

  async run(): Promise<readonly Line[]> {
    const { cacheDir, origin, offline } = this.#config
    this.#found('settings-ok', { store: cacheDir, origin: withoutTrailingSlash(origin.href) })
    await this.#checkStore()
    await this.#checkMirror()
    if (offline) for (const check of ['origin', 'quota', 'redirects', 'speed']) this.#skip(check, 'offline')
    else await this.#checkOrigin()
    const failed = this.#lines.find(({ status }) => status === 'fail')?.id
    return SERVER_CHECKS.map((id) => {
      const message =
        failed === undefined ? SERVER_SKIPPED.none : fill(SERVER_SKIPPED.before, { check: failed })
      return this.#lines.find((line) => line.id === id) ?? { id, status: 'skip', message, cure: '' }
    })
  }

  async #checkStore(): Promise<void> {
    const { cacheDir, cacheMinFreeBytes } = this.#config
    const layout = createLayout(cacheDir)
    try {
      // To make it here would make it for the user of this command.
      if ((await ifThere(stat(cacheDir))) === undefined)
        return this.#found('store-missing', { store: cacheDir })
      await checkDirectory(layout)
      await access(cacheDir, constants.R_OK | constants.X_OK)
      const refused = await writeRefusal(layout)
      if (refused === undefined) {
        await access(cacheDir, constants.W_OK)
        this.#found('store-ok', { store: cacheDir })
      } else this.#found('store-read-only', { store: cacheDir, error: codeOf(refused) })
    } catch (error) {
      const code = errorCode(error)
      if (!(error instanceof UnusableDirectory) && code === undefined) throw error
      this.#found('store-wrong', {
        error:
          error instanceof UnusableDirectory
            ? error.message
            : `${cacheDir} cannot be used as the store (${code})`,
        cure: 'Run this command with the environment and the user of the mirror. Then correct the directory, its owner, or HUBMIRROR_CACHE_DIR.',
      })
      return
    }
    const { bavail, bsize } = await statfs(cacheDir)
    const isLow = bavail * bsize < cacheMinFreeBytes
    const values = { free: formatSize(bavail * bsize), least: formatSize(cacheMinFreeBytes) }
    this.#found(isLow ? 'space-low' : 'space-ok', values)
  }

  /** What the running mirror says of itself. */
  async #checkMirror(): Promise<void> {
    const { cacheDir } = this.#config
    const isDone = ({ text }: Reply): boolean => typeof parseRecord(text)?.['ready'] === 'boolean'
    const names = { version: this.#options.version, program: 'hubmirror-doctor', isDone }
    try {
      const [reply] = (await askMirror(cacheDir, ['/readyz'], names)) ?? []
      if (reply === undefined) return this.#found('mirror-none')
      const answer = parseRecord(reply.text)
      const checks = Object.entries(isRecord(answer?.['checks']) ? answer['checks'] : {})
      const failed = checks.flatMap(([name, check]) => {
        if (!isRecord(check) || check['ok'] !== false) return []
        return [typeof check['detail'] === 'string' ? `${name}: ${check['detail']}` : name]
      })
      const detail = failed.join('; ')
      if (answer?.['ready'] !== true) this.#found('mirror-not-ready', { detail: detail || 'it stops' })
      else if (failed.length > 0) this.#found('mirror-hints', { detail })
      else this.#found('mirror-ready')
    } catch (error) {
      // A user who may not ask the mirror gets the answer of one for whom there is none.
      if (error instanceof MirrorSilent) this.#found('mirror-silent', { detail: error.message })
      else if (error instanceof MirrorFailed) this.#found('mirror-not-ready', { detail: error.message })
      else this.#found('mirror-none')
    }
  }

  async #checkOrigin(): Promise<void> {
    const { origin } = this.#config
    const repo = this.#options.repo ?? usualRepo()
    const base = withoutTrailingSlash(origin.href)
    const began = performance.now()
    const values: Values = {
      origin: base,
      way: this.#config.proxies.of(origin) === undefined ? '' : ' through the proxy',
    }
    let seen: Seen
    try {
      seen = await ask(this.#way, new URL(`${base}/api/${apiSegment(repo.type)}/${repo.id}`))
    } catch (error) {
      const code = codeOf(error)
      const isTls = /CERT|SELF_SIGNED|UNABLE_TO_|ALTNAME|EPROTO|ERR_SSL/.test(code)
      return this.#found(isTls ? 'origin-certificate' : 'origin-unreachable', { ...values, error: code })
    }
    const { status, headers } = seen
    // What is cut cannot be parsed, and no page is so long.
    const isJson =
      parseRecord(seen.text) !== undefined || (seen.isCut && /json/i.test(headers['content-type'] ?? ''))
    // A Hub answers in JSON, whatever it says of the repo.
    if (status >= 500) this.#found('origin-fails', { ...values, status })
    else if (!isJson && !isRedirect(seen)) this.#found('origin-page', { ...values, status })
    else this.#found('origin-ok', { ...values, ms: Math.round(performance.now() - began) })
    this.#checkQuota(headers['ratelimit'], status)
    if (status < 500 && (isJson || isRedirect(seen))) await this.#checkFile(repo, seen)
  }

  /** `"api";r=499;t=172` (RateLimit of the Hub). */
  #checkQuota(field: string | undefined, status: number): void {
    const [, bucket, left, seconds] = /^"(\w+)";r=(\d+);t=(\d+)/.exec(field ?? '') ?? []
    if (bucket === undefined || left === undefined || seconds === undefined)
      return this.#skip('quota', 'none')
    const isUsedUp = left === '0' || status === 429
    this.#found(isUsedUp ? 'quota-used' : 'quota-left', { bucket, left, seconds })
  }

  /** Follows the redirects of a file, and reads the beginning of it. */
  async #checkFile(repo: Repo, info: Seen): Promise<void> {
    const { origin, redirectHosts: allowedHosts } = this.#config
    const file = this.#options.file ?? fileOf(info)
    if (file === undefined) return this.#found('redirects-none', { repo: repo.id, status: info.status })
    const range = { headers: { range: `bytes=0-${SPEED_BYTES - 1}` } }
    const base = withoutTrailingSlash(origin.href)
    let url = new URL(base + resolveTarget(repo, 'main', file))
    const hosts = [url.host]
    let began = performance.now()
    try {
      let seen = await ask(this.#way, url, range)
      for (let hop = 0; hop < MAX_HOPS && isRedirect(seen); hop += 1) {
        const next = this.#allowed(url, seen.headers['location'] ?? '')
        if (next === undefined) {
          const host = hostOf(url, seen.headers['location'] ?? '')
          const all = [...allowedHosts, host.replace(/:\d+$/, '')].join(',')
          return this.#found('redirects-refused', { host, file, hosts: all })
        }
        url = next
        if (hosts.at(-1) !== url.host) hosts.push(url.host)
        began = performance.now()
        seen = await ask(this.#way, url, range)
      }
      if (seen.status !== 200 && seen.status !== 206)
        return this.#found('redirects-none', { repo: repo.id, status: seen.status })
      this.#found('redirects-ok', { repo: repo.id, hosts: hosts.join(', ') })
      const ms = Math.max(1, Math.round(performance.now() - began))
      const rate = (seen.bytes / 1000 / ms).toFixed(1)
      this.#found('speed-ok', { size: formatSize(seen.bytes), file, host: url.host, ms, rate })
    } catch (error) {
      this.#found('redirects-ok', { repo: repo.id, hosts: hosts.join(', ') })
      this.#found('speed-failed', { host: url.host, file, error: codeOf(error) })
    }
  }

  #allowed(from: URL, location: string): URL | undefined {
    const { origin: base, redirectHosts: allowedHosts } = this.#config
    try {
      return redirectTarget({ base, allowedHosts }, from, location)
    } catch {
      return undefined
    }
  }

  #found(finding: ServerFindingId, values: Values = {}): void {
    const row: { check: string; status: Status; message: string; cure?: string } = SERVER_FINDINGS[finding]
    this.#lines.push({
      id: row.check,
      status: row.status,
      message: fill(row.message, values),
      cure: fill(row.cure ?? '', values),
    })
  }

  #skip(check: string, why: keyof typeof SERVER_SKIPPED): void {
    this.#lines.push({ id: check, status: 'skip', message: SERVER_SKIPPED[why], cure: '' })
  }
}

/** The name of a file of weights, which comes from the storage; else of any file. */
function fileOf(info: Seen): string | undefined {
  const names = filesOf(info)
  return names.find((name) => /\.(?:safetensors|bin|gguf|parquet)$/.test(name)) ?? names[0]
}

function hostOf(from: URL, location: string): string {
  return URL.canParse(location, from.href) ? new URL(location, from).host : '(an unreadable address)'
}

function usualRepo(): Repo {
  const id = parseRepoId(USUAL_REPO)
  if (id === undefined) throw new Error('the usual repo has no valid name')
  return { type: 'model', id }
}
