// The suite's own code, in a process of its own because it keeps its state in modules: its origin on a loopback port,
// which it tells its parent, and its client, which begins when the parent says where. usage: suite-process.mjs FOLDER

import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder] = process.argv.slice(2)
const load = (file) => import(pathToFileURL(join(folder, file)).href)
// It finds its templates from where it runs.
process.chdir(folder)

/** The suite's server listens on every interface; its handlers do not mind who calls them. */
const handlers = {
  config: (await load('server/handle-config.mjs')).default,
  test: (await load('server/handle-test.mjs')).default,
  state: (await load('server/handle-state.mjs')).default,
}
const origin = createServer((request, response) => {
  const [, what, ...segments] = new URL(request.url, 'http://suite').pathname.split('/')
  if (Object.hasOwn(handlers, what)) handlers[what](segments, request, response)
  else response.writeHead(404).end()
})

const { default: suites } = await load('tests/index.mjs')
// As the suite's own command line does.
suites.push((await load('tests/surrogate-control.mjs')).default)
const fetch = createRequire(join(folder, 'cli.mjs'))('node-fetch')
const config = await load('client/config.mjs')
const { makeCacheTest, testResults } = await load('client/test.mjs')
const { determineTestResult } = await load('lib/display.mjs')

const VERDICTS = {
  '✅': 'pass',
  Y: 'yes',
  N: 'no',
  '⛔️': 'fail',
  '⚠️': 'optional-fail',
  '🔹': 'setup',
  '⁉️': 'harness',
  '⚪️': 'dependency',
  '↻': 'retry',
}

/** As many as the suite itself runs. */
const AT_ONCE = 100

async function run(base) {
  config.setFetch(fetch)
  config.setUseBrowserCache(false)
  config.setBaseUrl(base)
  const tests = suites.flatMap(({ tests }) => tests).filter(({ browser_only }) => browser_only !== true)
  // Two kinds may tell a cache something that is news for the tests beside them: those that write, and those in which
  // the origin cuts the connection, as if it were away altogether.
  const kindOf = ({ requests }) => {
    if (requests.some(({ disconnect }) => disconnect === true)) return 2
    return requests.some(({ request_method: method = 'GET' }) => method !== 'GET' && method !== 'HEAD')
      ? 1
      : 0
  }
  for (const kind of [0, 1, 2]) {
    const group = tests.filter((test) => kindOf(test) === kind)
    for (let from = 0; from < group.length; from += AT_ONCE)
      await Promise.all(group.slice(from, from + AT_ONCE).map(makeCacheTest))
  }
  return tests.map((test) => ({
    id: test.id,
    kind: test.kind ?? 'required',
    expects: test.requests.map(({ expected_type }) => expected_type ?? null),
    verdict: VERDICTS[determineTestResult(suites, test.id, testResults)[2]],
    message: testResults[test.id] === true ? '' : testResults[test.id].join(': '),
  }))
}

process.once('message', ({ base }) => {
  void run(base).then((results) => process.send({ results }, () => process.exit()))
})
process.once('disconnect', () => process.exit())
origin.listen(0, '127.0.0.1', () => process.send({ origin: `http://127.0.0.1:${origin.address().port}` }))
