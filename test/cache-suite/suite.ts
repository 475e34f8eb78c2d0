// The public suite of HTTP caches, as far as this project has to know it: where it is, what it says of each test, and
// how long that may take.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** Brought by setup.sh. */
export const PACKAGE = fileURLToPath(
  new URL('../../.ci/cache/http-cache-tests/node_modules/http-cache-tests', import.meta.url),
)
const PROCESS = fileURLToPath(new URL('suite-process.mjs', import.meta.url))
const WITHIN_MS = 180_000

export type Kind = 'required' | 'optimal' | 'check'
/** The suite's word for a test. `setup`: what the test needs did not come about; `dependency`: of a test before it. */
export type Verdict =
  | 'pass'
  | 'fail'
  | 'optional-fail'
  | 'yes'
  | 'no'
  | 'setup'
  | 'harness'
  | 'dependency'
  | 'retry'
type Expected = 'cached' | 'not_cached' | 'etag_validated' | 'lm_validated'

/** One test after its run. */
export interface SuiteResult {
  readonly id: string
  readonly kind: Kind
  /** What the suite wants of each request of the test, in turn; null where it wants nothing. */
  readonly expects: readonly (Expected | null)[]
  readonly verdict: Verdict
  /** Why it did not pass. */
  readonly message: string
}

/** Runs every test once. `stand` gets the URL of the suite's origin, and returns the URL that its client must use. */
export async function runSuite(stand: (originUrl: string) => Promise<string>): Promise<SuiteResult[]> {
  const child = fork(PROCESS, [PACKAGE], {
    execArgv: ['--no-warnings'],
    env: { PATH: process.env['PATH'] },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
  }
  const ended = once(child, 'close')
  const late = setTimeout(() => child.kill('SIGKILL'), WITHIN_MS)
  const hear = async <T>(): Promise<T> => {
    const message = await Promise.race([once(child, 'message'), ended.then(() => undefined)])
    if (message === undefined) throw new Error(`the suite ended early:\n${said}`)
    return message[0] as T
  }
  try {
    const { origin } = await hear<{ origin: string }>()
    const base = await stand(origin)
    const done = hear<{ results: SuiteResult[] }>()
    child.send({ base })
    return (await done).results
  } finally {
    clearTimeout(late)
    child.kill('SIGKILL')
    await ended
  }
}
