// The doctor, as the command and as the Python file that the mirror serves, before servers that are wrong in one way each:
// the first check that fails must be the cause. Prints what was found as tables.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { FINDINGS, type FindingId } from '../../src/doctor/table.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { run } from '../support/run-cli.ts'
import { openScene, type Scene } from '../support/scene.ts'
import { causeRows } from './support/doctor/causes.ts'
import { answerRows, frontRows, machineRows, tokenRows } from './support/doctor/findings.ts'
import { play, type Result, type Row, resultOf, runPython } from './support/doctor/play.ts'
import { proxyRows } from './support/doctor/proxies.ts'
import { describeClient } from './support/tools.ts'

const TABLES: Readonly<Record<string, (scene: Scene, folder: string) => Promise<readonly Row[]>>> = {
  'the usual causes of a failure': causeRows,
  'forward proxies': proxyRows,
  'answers that lack something': answerRows,
  'servers without a mirror': frontRows,
  'tokens of all kinds and places': tokenRows,
  'variables, clients and the disk of this machine': machineRows,
}

async function opened() {
  const scene = await openScene()
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-doctor-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const source = await (await fetch(`${scene.mirror.url}/-/doctor.py`)).text()
  return { scene, folder, source }
}

describeClient('the doctor', ['nginx', 'python3'], () => {
  const found = new Set<FindingId>()

  it.each(Object.entries(TABLES))(
    'names the cause first, and says the same as its Python form: %s',
    async (_title, rowsOf) => {
      const { scene, folder, source } = await opened()
      const rows = await rowsOf(scene, folder)
      for (const id of await play(rows, { source, home: folder })) found.add(id)
    },
  )

  it('has found all that it can find, in both forms', () => {
    expect(Object.keys(FINDINGS).filter((id) => !found.has(id as FindingId))).toEqual(IN_PYTHON)
  })

  it.each([
    ['the mirror', TOKENS.alice, 0, 'No check failed.'],
    ['a wrong token', TOKENS.invalid, 1, 'Cure this first: token-valid.'],
  ] as const)('prints the same text in both forms: %s', async (_name, token, status, end) => {
    const { scene, folder, source } = await opened()
    const { url } = scene.mirror
    const args = ['--endpoint', url, '--repo', 'acme/open']
    const env = { HF_ENDPOINT: url, HF_HOME: folder, HOME: folder, HF_TOKEN: token }
    const texts = await Promise.all([run(['doctor', ...args], env), runPython(source, args, env)])
    for (const text of texts) expect([text.status, text.stderr]).toEqual([status, ''])
    const [node = [], python] = texts.map(({ stdout }) => stdout.split('\n').map(withoutSystem))
    expect(node).toEqual(python)
    expect(node.slice(0, 2)).toEqual([
      'ok    proxy            No proxy variable applies to 127.0.0.1.',
      'ok    dns              …',
    ])
    expect(node.slice(-3)).toEqual(['', end, ''])
    if (status === 1)
      expect(node.join('\n')).toMatch(
        /\nfail {2}token-valid {6}The token is wrong: .*\n {23}Cure: Make a new token/,
      )
  })

  it('checks the mirror that served its Python form, read from the standard input', async () => {
    const { mirror } = await openScene()
    const source = await (await fetch(`${mirror.url}/-/doctor.py`)).text()
    const result = resultOf(await runPython(source, ['--json'], { HOME: '/nonexistent' }))
    expect(result.checks.find(({ id }) => id === 'endpoint')).toMatchObject({
      status: 'ok',
      message: `There is a Hub at ${mirror.url} (hubmirror).`,
    })
    expect(result.ok).toBe(true)
  })

  it('checks the server of HF_ENDPOINT in the Python form, and says that another one served the file', async () => {
    const [{ mirror }, other] = [await openScene(), await openScene()]
    const source = await (await fetch(`${mirror.url}/-/doctor.py`)).text()
    const env = { HOME: '/nonexistent', HF_ENDPOINT: other.mirror.url }
    const find = ({ checks }: Result, wanted: string) => checks.find(({ id }) => id === wanted)
    const result = resultOf(await runPython(source, ['--json'], env))
    expect(find(result, 'endpoint')?.message).toBe(`There is a Hub at ${other.mirror.url} (hubmirror).`)
    expect(find(result, 'environment')).toMatchObject({
      status: 'warn',
      message: `HF_ENDPOINT is ${other.mirror.url}, and this file came from ${mirror.url}. Clients on this machine ask ${other.mirror.url}, and that is what was checked.`,
    })
    const given = resultOf(await runPython(source, ['--json', '--endpoint', mirror.url], env))
    expect(find(given, 'endpoint')?.message).toBe(`There is a Hub at ${mirror.url} (hubmirror).`)
    expect(find(given, 'environment')?.message).toContain('and clients ask that other one')
    const same = resultOf(await runPython(source, ['--json'], { ...env, HF_ENDPOINT: mirror.url }))
    expect(find(same, 'environment')?.status).toBe('ok')
  })

  it('says in a notebook that HF_ENDPOINT was set after the import of a client', async () => {
    const { scene, folder, source } = await opened()
    const { url } = scene.mirror
    const imported = [
      'import sys, types',
      'constants = types.ModuleType("huggingface_hub.constants")',
      'constants.ENDPOINT = "https://huggingface.co"',
      'sys.modules["huggingface_hub.constants"] = constants',
      'exec(sys.stdin.read())',
    ].join('\n')
    const args = ['--endpoint', url, '--json']
    const env = { HF_ENDPOINT: url, HF_HOME: folder, HOME: folder }
    const { checks } = resultOf(await runPython(source, args, env, ['-c', imported]))
    expect(checks.find(({ id }) => id === 'environment')).toMatchObject({
      status: 'warn',
      message: 'HF_ENDPOINT was set after huggingface_hub was imported, so the import does not know it.',
    })
  })
})

/** Found by a test of the Python form alone, in which alone they can be. */
const IN_PYTHON: readonly FindingId[] = ['environment-served']

/** A line of the text without what differs from run to run and between the systems of both forms. */
function withoutSystem(line: string): string {
  return line.replace(/^(\w+ +(?:dns|tcp|clock|clients|disk) +).*/, '$1…')
}
