// What the mirror does with git: fetches the branches and tags of a public repo into a bare repository, checks one, and answers
// clients from it. It sends no credential, and knows neither repos nor who may read them.

import type { Proxy } from '../http/proxies.ts'
import { GitFailed, hasGit, runGit, streamGit } from './program.ts'

const FETCH_MS = 30 * 60_000
const CHECK_MS = 10 * 60_000
/** A client that reads slowly ends much earlier: see sendStream. */
const SERVE_MS = 30 * 60_000
/** More than a hundred thousand branches and tags. */
const MAX_REFS_BYTES = 16 * 1024 * 1024

/** The version of git's protocol: what the field Git-Protocol says, or nothing for version 0. */
export type GitProtocol = 'version=1' | 'version=2' | undefined

export interface GitSource {
  /** Of the repo at the origin, without a credential. */
  readonly url: URL
  /** The proxy that leads there. */
  readonly proxy: Proxy | undefined
  /** The Via field by which a loop of mirrors is noticed. */
  readonly via: string
}

export interface Git {
  /** Whether git is installed. Looks for it once. Never rejects. */
  isThere(): Promise<boolean>
  /**
   * Makes the branches and tags of the bare repository those of the source, without a credential. Objects are verified. Rejects
   * with GitFailed, or the reason of `signal`.
   */
  fetch(directory: string, source: GitSource, signal: AbortSignal): Promise<void>
  /** Which of these objects the repository has, by their ids. Rejects with GitFailed. */
  present(directory: string, ids: readonly string[], signal: AbortSignal): Promise<ReadonlySet<string>>
  /** Whether every branch and tag is whole and readable. Rejects when that cannot be found out. */
  isWhole(directory: string, signal: AbortSignal): Promise<boolean>
  /** The answer to `info/refs?service=git-upload-pack`. Rejects with GitFailed when the repository is damaged. */
  refs(directory: string, protocol: GitProtocol, signal: AbortSignal): Promise<Buffer>
  /**
   * The answer to a POST of `git-upload-pack`. Throws GitFailed in the course of it when the question is wrong, or the repository
   * is damaged. Git ends with the iteration.
   */
  pack(
    directory: string,
    question: { readonly protocol: GitProtocol; readonly body: Buffer },
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined>
}

const FETCH_SETTINGS = [
  'protocol.http.allow=always',
  'protocol.https.allow=always',
  // It stays at the host that the operator has configured.
  'http.followRedirects=false',
  // The password of the proxy goes with the first request, as with the mirror's own. Some proxies close the connection otherwise.
  'http.proxyAuthMethod=basic',
  'http.lowSpeedLimit=1024',
  'http.lowSpeedTime=60',
  'fetch.fsckObjects=true',
  'transfer.fsckObjects=true',
  // One pack for each fetch: few files, whose size can be watched.
  'fetch.unpackLimit=1',
  'pack.threads=1',
]

const SERVE_SETTINGS = [
  'uploadpack.allowFilter=true',
  'uploadpack.allowAnySHA1InWant=true',
  // Filters that a client can make expensive are left out.
  'uploadpackfilter.allow=false',
  'uploadpackfilter.blob:none.allow=true',
  'uploadpackfilter.blob:limit.allow=true',
  'uploadpackfilter.tree.allow=true',
  'uploadpackfilter.tree.maxDepth=0',
  'pack.threads=1',
  'pack.windowMemory=32m',
  'pack.deltaCacheSize=16m',
  'core.bigFileThreshold=8m',
]

/** Git as it is installed on this machine. */
export function createGit(): Git {
  let isThere: Promise<boolean> | undefined
  return {
    isThere: () => (isThere ??= hasGit()),

    async fetch(directory, { url, proxy, via }, signal) {
      const run = {
        directory,
        isLowPriority: true,
        signal: AbortSignal.any([signal, AbortSignal.timeout(FETCH_MS)]),
      }
      const args = [
        'fetch',
        '--quiet',
        '--prune',
        '--force',
        '--atomic',
        '--no-tags',
        '--no-recurse-submodules',
      ]
      const refs = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*']
      const settings = [...FETCH_SETTINGS, `http.extraHeader=Via: ${via}`]
      await runGit(
        {
          ...run,
          args: [...args, '--no-write-fetch-head', '--', url.href, ...refs],
          settings,
          env: proxyEnvironment(proxy),
        },
        MAX_REFS_BYTES,
      )
      await runGit({ ...run, args: ['pack-refs', '--all', '--prune'] }, MAX_REFS_BYTES)
    },

    async present(directory, ids, signal) {
      const args = ['cat-file', '--batch-check=%(objectname) %(objecttype)']
      const input = Buffer.from(ids.map((id) => `${id}\n`).join(''))
      const limited = AbortSignal.any([signal, AbortSignal.timeout(CHECK_MS)])
      const output = (await runGit({ args, directory, input, signal: limited }, MAX_REFS_BYTES)).toString()
      return new Set(
        output.split('\n').flatMap((line) => (line.endsWith(' blob') ? [line.slice(0, -5)] : [])),
      )
    },

    async isWhole(directory, signal) {
      const args = ['fsck', '--full', '--no-dangling', '--no-progress']
      const limited = AbortSignal.any([signal, AbortSignal.timeout(CHECK_MS)])
      try {
        await runGit({ args, directory, signal: limited, isLowPriority: true }, MAX_REFS_BYTES)
        return true
      } catch (error) {
        if (error instanceof GitFailed) return false
        throw error
      }
    },

    async refs(directory, protocol, signal) {
      const run = { ...serving(protocol, signal), directory }
      const args = ['upload-pack', '--strict', '--stateless-rpc', '--advertise-refs', directory]
      const refs = await runGit({ ...run, args }, MAX_REFS_BYTES)
      // As `git http-backend` does: the line names the service, and version 2 has none.
      return protocol === 'version=2' ? refs : Buffer.concat([Buffer.from(SERVICE_LINE), refs])
    },

    pack(directory, { protocol, body }, signal) {
      const args = ['upload-pack', '--strict', '--stateless-rpc', directory]
      return streamGit({ ...serving(protocol, signal), directory, args, input: body })
    },
  }
}

const SERVICE_LINE = '001e# service=git-upload-pack\n0000'

function serving(protocol: GitProtocol, signal: AbortSignal) {
  return {
    settings: SERVE_SETTINGS,
    env: protocol === undefined ? {} : { GIT_PROTOCOL: protocol },
    signal: AbortSignal.any([signal, AbortSignal.timeout(SERVE_MS)]),
  }
}

/** The variables that curl reads. All requests go to the origin, so its proxy is that of all of them. */
function proxyEnvironment(proxy: Proxy | undefined): Record<string, string> {
  if (proxy === undefined) return {}
  const url = new URL(proxy.url)
  const [, encoded] = /^Basic (.*)$/.exec(proxy.authorization ?? '') ?? []
  if (encoded !== undefined) {
    const pair = Buffer.from(encoded, 'base64').toString()
    const colon = pair.indexOf(':')
    url.username = encodeURIComponent(pair.slice(0, colon))
    url.password = encodeURIComponent(pair.slice(colon + 1))
  }
  return { http_proxy: url.href, https_proxy: url.href }
}
