// What lies on the machine of the client: token, variables, clients, listings and disk. It asks no server.

import { execFile } from 'node:child_process'
import { accessSync, constants, readdirSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Seen } from './ask.ts'
import type { Report } from './report.ts'

export type Env = Readonly<Record<string, string | undefined>>

const DISK_LOW_BYTES = 2e9
/** A difference that breaks no signed address and no token. */
const CLOCK_SECONDS = 60
/** Bounds of the search for listings: enough to know, and short on a large cache. */
const MOST_REPOS = 500
const MOST_TREES = 200
const MOST_TREE_BYTES = 5_000_000

/** What variables and files name a certificate authority with, over all clients. */
const CA_VARIABLES = ['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS']

/** The folder of the clients. */
export function homeOf(env: Env): string {
  const cache = env['XDG_CACHE_HOME'] ?? join(env['HOME'] ?? '/', '.cache')
  return env['HF_HOME'] ?? join(cache, 'huggingface')
}

/** The token that a client would send, and where it comes from. White space at its ends does not count, as in clients. */
export function findToken(env: Env): { readonly token: string; readonly source: string } | undefined {
  for (const name of ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN']) {
    const token = env[name]?.trim() ?? ''
    if (token !== '') return { token, source: name }
  }
  const path = env['HF_TOKEN_PATH'] ?? join(homeOf(env), 'token')
  const token = readSmall(path)?.trim() ?? ''
  return token === '' ? undefined : { token, source: path }
}

/** Fills token-form. Returns false for a text that cannot be sent as a token. */
export function checkForm(report: Report, token: string, source: string): boolean {
  const problem = /^bearer\b/i.test(token)
    ? 'it begins with Bearer'
    : /["']/.test(token)
      ? 'it holds quotes'
      : /\s/.test(token)
        ? 'it holds white space'
        : /[^\x21-\x7e]/.test(token)
          ? 'it holds characters that no token has'
          : undefined
  if (problem !== undefined) report.found('token-shape-wrong', { source, problem })
  else report.found(/^hf_[A-Za-z0-9_.-]{10,}$/.test(token) ? 'token-shape-ok' : 'token-shape-odd', { source })
  return problem === undefined
}

/** The authorities that these variables name, in PEM: by default those of all clients. */
export function authoritiesOf(env: Env, variables: readonly string[] = CA_VARIABLES): readonly string[] {
  return variables.flatMap((name) => {
    const path = env[name]
    const text = path === undefined || path === '' ? undefined : readSmall(path)
    return text === undefined ? [] : [text]
  })
}

/** Fills clock from the Date of an answer. */
export function checkClock(report: Report, seen: Seen, nowMs: number): void {
  // Some servers send two.
  const date = Date.parse(/^[^,]*,[^,]*/.exec(seen.headers['date'] ?? '')?.[0] ?? '')
  if (Number.isNaN(date)) return report.skip(['clock'], 'none')
  const seconds = Math.round(Math.abs(nowMs - date) / 1000)
  report.found(seconds > CLOCK_SECONDS ? 'clock-off' : 'clock-ok', { seconds })
}

/** Fills environment, clients, trees and disk. */
export async function checkLocal(report: Report, env: Env, endpoint: URL): Promise<void> {
  checkEnvironment(report, env, endpoint)
  await checkClients(report)
  const home = homeOf(env)
  checkTrees(report, env['HF_HUB_CACHE'] ?? join(home, 'hub'))
  let path = home
  while (!exists(path) && dirname(path) !== path) path = dirname(path)
  const { bavail, bsize } = statfsSync(path)
  const free = bavail * bsize
  report.found(free < DISK_LOW_BYTES ? 'disk-full' : 'disk-ok', { path, free: (free / 1e9).toFixed(1) })
}

function checkEnvironment(report: Report, env: Env, endpoint: URL): void {
  for (const variable of ['HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE', 'HF_DATASETS_OFFLINE'])
    if (/^(?:1|on|yes|true)$/i.test(env[variable] ?? ''))
      return report.found('environment-offline', { variable })
  for (const variable of CA_VARIABLES) {
    const path = env[variable] ?? ''
    if (path !== '' && !isReadable(path)) return report.found('environment-file', { variable })
  }
  const problem = contradiction(env, endpoint)
  if (problem === undefined) report.found('environment-ok')
  else report.found('environment-differs', { problem })
}

function contradiction(env: Env, endpoint: URL): string | undefined {
  const strip = (text: string): string => text.trim().replace(/\/+$/, '')
  const named = env['HF_ENDPOINT']
  const here = strip(endpoint.href)
  if (named === undefined || named === '') {
    return here === 'https://huggingface.co'
      ? undefined
      : 'HF_ENDPOINT is not set, so clients ask https://huggingface.co and not the endpoint checked here'
  }
  if (strip(named) !== here && URL.canParse(named) && strip(new URL(named).href) !== here)
    return 'HF_ENDPOINT names another server than the endpoint checked here, and clients ask that other one'
  const [first, second] = [env['HF_TOKEN']?.trim(), env['HUGGING_FACE_HUB_TOKEN']?.trim()]
  if (first && second && first !== second)
    return 'HF_TOKEN and HUGGING_FACE_HUB_TOKEN hold different tokens, and HF_TOKEN wins'
  const stored = readSmall(env['HF_TOKEN_PATH'] ?? join(homeOf(env), 'token'))?.trim()
  if (first && stored && first !== stored)
    return 'HF_TOKEN and the file of hf auth login hold different tokens, and HF_TOKEN wins'
  if (/^(?:1|on|yes|true)$/i.test(env['HF_HUB_DISABLE_IMPLICIT_TOKEN'] ?? '') && (first || stored))
    return 'HF_HUB_DISABLE_IMPLICIT_TOKEN is set, so clients send the token only where code asks for it'
  if (named.trim().endsWith('/'))
    return 'HF_ENDPOINT ends with a slash, which datasets and older clients put before every path'
  return undefined
}

const LIST_CLIENTS = `import importlib.metadata as m
for n in ("huggingface_hub", "hf_xet", "transformers", "datasets"):
    try: print(n, m.version(n))
    except Exception: pass`

async function checkClients(report: Report): Promise<void> {
  const text = await new Promise<string>((resolve) => {
    execFile('python3', ['-c', LIST_CLIENTS], { timeout: 10_000, maxBuffer: 10_000 }, (_error, stdout) =>
      resolve(stdout),
    )
  })
  const versions = text.trim().split('\n').join(', ')
  const version = /^huggingface_hub (\S+)/m.exec(text)?.[1] ?? ''
  const hasXet = /^hf_xet /m.test(text)
  if (versions === '') report.found('clients-none')
  else if (hasXet && /^0\.3[0-3]\./.test(version)) report.found('clients-old', { version, versions })
  else report.found('clients-found', { versions })
}

/** The listings that huggingface_hub keeps: `models--org--name/trees/COMMIT.json`. */
function checkTrees(report: Report, path: string): void {
  let [count, read] = [0, 0]
  for (const repo of entries(path).slice(0, MOST_REPOS)) {
    const folder = join(path, repo, 'trees')
    for (const name of entries(folder)) {
      if (read++ >= MOST_TREES) break
      if (/"xet_?hash": ?"/i.test(readSmall(join(folder, name)) ?? '')) count++
    }
  }
  if (count === 0) report.found('trees-ok')
  else report.found('trees-xet', { count, path })
}

function entries(path: string): readonly string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function readSmall(path: string): string | undefined {
  try {
    // A device or a pipe would never end.
    const facts = statSync(path)
    return facts.isFile() && facts.size <= MOST_TREE_BYTES ? readFileSync(path, 'utf8') : undefined
  } catch {
    return undefined
  }
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK)
    return true
  } catch {
    return false
  }
}

function exists(path: string): boolean {
  try {
    statSync(path)
    return true
  } catch {
    return false
  }
}
