// All checks of a client, in an order in which the first that fails is the cause of those behind it. The Python file that
// the mirror serves (python-source.ts) does the same in the same order.

import { randomBytes } from 'node:crypto'
import { readProxies } from '../http/proxies.ts'
import { codeOf } from './ask.ts'
import { checkEndpoint, checkFile, checkLinks, checkRepo, checkToken, type Subject } from './hub-checks.ts'
import { authoritiesOf, checkClock, checkForm, checkLocal, type Env } from './local-checks.ts'
import { checkNetwork } from './network-checks.ts'
import { type Line, Report } from './report.ts'
import { USUAL_REPO } from './table.ts'

export interface ClientOptions {
  readonly endpoint: URL
  readonly token: { readonly token: string; readonly source: string } | undefined
  /** `models`, `datasets` or `spaces`. */
  readonly kind: string
  readonly repo: string | undefined
  readonly file: string | undefined
  readonly env: Env
}

/** Runs all checks of a client. Never rejects for what a server does. */
export async function checkClient(options: ClientOptions): Promise<readonly Line[]> {
  const { endpoint, token, env } = options
  const report = new Report()
  const { proxies } = readProxies(env, endpoint.protocol === 'https:' ? 'https' : 'http')
  const all = { proxyOf: (url: URL) => proxies.of(url), authorities: authoritiesOf(env) }
  const isWellFormed = token !== undefined && checkForm(report, token.token, token.source)
  if (token === undefined) report.skip(['token-form'], 'token')
  else report.found('token-here', { source: token.source })
  if (token !== undefined && !isWellFormed) report.skip(['token-valid'], 'before', { check: 'token-form' })
  try {
    const way = await checkNetwork(report, all, endpoint)
    if (way !== undefined) {
      await checkServer(report, {
        way,
        endpoint,
        token: isWellFormed ? token.token : undefined,
        source: token?.source ?? '',
        kind: options.kind,
        repo: options.repo ?? USUAL_REPO,
        isNamed: options.repo !== undefined,
        file: options.file,
      })
    }
  } catch (error) {
    // The server has answered before: it breaks off, or ends a connection that takes too long.
    report.found('endpoint-failed', { endpoint: endpoint.href.replace(/\/+$/, ''), error: codeOf(error) })
    report.found('headers-failed', {
      file: options.file ?? 'a file',
      status: codeOf(error),
      said: '(nothing)',
    })
  }
  if (token === undefined) report.found('token-none')
  await checkLocal(report, env, endpoint)
  return report.lines()
}

async function checkServer(report: Report, subject: Subject): Promise<void> {
  // So that a cache that ignores Authorization keeps no answer about this token for others.
  const query = `?doctor=${randomBytes(6).toString('hex')}`
  const seen = await checkEndpoint(report, subject, query)
  if (seen === undefined) return
  checkClock(report, seen, Date.now())
  const name = await checkToken(report, subject, seen, query)
  const isAway = seen.status >= 500 || seen.status === 404
  // A token that is not accepted would hide what else is there: the rest goes without it.
  const account = name ?? (isAway && subject.token !== undefined ? 'this caller' : undefined)
  const sample = await checkRepo(report, subject, account)
  await checkLinks(report, subject, sample?.link)
  await checkFile(report, subject, account === undefined ? undefined : subject.token, sample)
}
