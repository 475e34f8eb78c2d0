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
  const { proxies } = readProxies(env, schemeOf(endpoint))
  const unusable = unusableProxy(env, endpoint)
  const all = { proxyOf: (url: URL) => proxies.of(url), unusable, authorities: authoritiesOf(env) }
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
    // The server has answered before: it breaks off, or takes too long.
    report.found('connection-breaks', { endpoint: endpoint.href.replace(/\/+$/, ''), error: codeOf(error) })
  }
  if (token === undefined) report.found('token-none')
  await checkLocal(report, env, endpoint)
  return report.lines()
}

function schemeOf({ protocol }: URL): 'http' | 'https' {
  return protocol === 'https:' ? 'https' : 'http'
}

/** The variable that names a proxy for the endpoint which is neither http nor https. */
function unusableProxy(env: Env, endpoint: URL): string | undefined {
  const { faults } = readProxies(env, schemeOf(endpoint))
  // As if it named a proxy of a known kind: NO_PROXY, or a variable for the other scheme, may mean that it does not count.
  return faults.find(({ variable }) => {
    const { proxies } = readProxies({ ...env, [variable]: 'http://proxy' }, schemeOf(endpoint))
    return proxies.of(endpoint)?.variable === variable
  })?.variable
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
  report.found('connection-ok')
}
