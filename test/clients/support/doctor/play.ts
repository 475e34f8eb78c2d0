// Runs both forms of the doctor, the command and the Python file, before the server of each row of a table. They must say the same.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect } from 'vitest'
import { CHECKS } from '../../../../src/doctor/checks.ts'
import { FINDINGS, type FindingId } from '../../../../src/doctor/table.ts'
import { findingsOf } from '../../../support/findings.ts'
import { TOKENS } from '../../../support/mirror-world.ts'
import { run } from '../../../support/run-cli.ts'

/** A server, or a client, that is wrong in one way. */
export interface Row {
  readonly name: string
  readonly url: string
  /** The id of the check that must fail first; empty if none may fail. */
  readonly first: string
  readonly env: Readonly<Record<string, string>>
  readonly args: readonly string[]
  /** What the message of that check must name. */
  readonly says?: readonly string[]
  /** What must be found, and what its message must name. */
  readonly finds?: Readonly<Partial<Record<FindingId, string>>>
}

export interface Check {
  readonly id: string
  readonly status: string
  readonly message: string
  readonly cure: string
}

interface Output {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Result {
  readonly status: number | null
  readonly ok: boolean
  readonly checks: readonly Check[]
  /** The id of the first check that failed. */
  readonly first: string
  readonly output: string
}

/**
 * Plays all rows, and prints what was found as a table. `source` is the Python file, and `home` the home of a client that has nothing
 * stored. Resolves with all that both forms have found. Rejects if a row is not found as it should be.
 */
export async function play(
  rows: readonly Row[],
  { source, home }: { readonly source: string; readonly home: string },
): Promise<ReadonlySet<FindingId>> {
  const table = ['| server | first finding | Python | message |', '|---|---|---|---|']
  const wrong: string[] = []
  const all = new Set<FindingId>()
  for (const { name, url, first, env, args, says = [], finds = {} } of rows) {
    const full = { HF_ENDPOINT: url, HF_HOME: home, HOME: home, ...env }
    const [node, python] = await Promise.all([
      run(['doctor', '--json', ...args], full).then(resultOf),
      runPython(source, ['--endpoint', url, '--json', ...args], full).then(resultOf),
    ])
    const message = node.checks.find(({ id }) => id === node.first)?.message ?? 'no check failed'
    for (const part of says) if (!message.includes(part)) wrong.push(`${name}: ${message} lacks ${part}`)
    table.push(`| ${name} | ${node.first || '–'} | ${python.first || '–'} | ${message} |`)
    for (const { status, checks, ok, first: found, output } of [node, python]) {
      expect(checks.map(({ id }) => id)).toEqual(Object.keys(CHECKS))
      for (const token of Object.values(TOKENS)) expect(output).not.toContain(token)
      const isRight = found === first && ok === (first === '') && status === (first === '' ? 0 : 1)
      if (!isRight) wrong.push(`${name}: ${output}`)
      const findings = new Map(checks.map((check) => [findingOf(check), check.message]))
      for (const [id, part] of Object.entries(finds))
        if (findings.get(id as FindingId)?.includes(part) !== true)
          wrong.push(`${name}: ${id} with ${part} was not found, but ${[...findings.keys()].join(', ')}`)
    }
    const others = python.checks.map(findingOf)
    for (const id of node.checks.map(findingOf)) if (id !== undefined && others.includes(id)) all.add(id)
    const lines = python.checks.map(comparable)
    for (const [at, line] of node.checks.map(comparable).entries())
      if (line !== lines[at]) wrong.push(`${name}: ${line} is not ${lines[at]}`)
  }
  console.log(table.join('\n'))
  expect(wrong).toEqual([])
  return all
}

const findingOf = findingsOf(FINDINGS)

/** What both forms must agree in. The installed clients differ, and so do times, addresses and the texts of the systems. */
function comparable({ id, status, message, cure }: Check): string {
  if (id === 'clients') return id
  const isOfSystem = ['tcp', 'dns', 'tls', 'disk', 'clock'].includes(id)
  return JSON.stringify({ id, status, message: isOfSystem ? '' : message.replace(/ \(.*\)/, ''), cure })
}

/** Reads what either form has printed with --json. */
export function resultOf({ status, stdout, stderr }: Output): Result {
  const output = stdout + stderr
  try {
    const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Check[] }
    return { status, ok, checks, first: checks.find((check) => check.status === 'fail')?.id ?? '', output }
  } catch (error) {
    throw new Error(`the doctor printed no JSON: ${output}`, { cause: error })
  }
}

/** Runs a Python file that comes from the standard input. `before` is what python3 gets in place of it, to read it from there. */
export async function runPython(
  source: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  before: readonly string[] = ['-'],
): Promise<Output> {
  const child = spawn('python3', [...before, ...args], { env: { PATH: process.env['PATH'], ...env } })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (part: Buffer) => {
    stdout += part.toString()
  })
  child.stderr.on('data', (part: Buffer) => {
    stderr += part.toString()
  })
  child.stdin.end(source)
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, stdout, stderr }
}
