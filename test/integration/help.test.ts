// The help of all commands: it fits on a screen, and shows the options and settings of its command.

import { expect, it } from 'vitest'
import { run } from '../support/run-cli.ts'

/** A terminal of the usual width, and as many lines as it shows with a little scrolling. */
const [COLUMNS, LINES] = [80, 40]
/** Commands of which an operator learns most by an example. */
const WITH_EXAMPLES = [
  'prefetch',
  'pins',
  'import',
  'export',
  'bundle',
  'bundle create',
  'bundle verify',
  'bundle load',
  'doctor',
  'completion',
]
/** Options of a command, and settings that its help lists. */
const LISTED: Readonly<Record<string, readonly string[]>> = {
  ls: ['--sort <', '--cache-dir <'],
  prune: ['--older-than <', '--cache-dir <', '--audit-log <'],
  verify: ['--rate <', '--cache-dir <'],
  prefetch: ['--include <', '--origin <'],
  'token create': ['--expires <', '--mirror-tokens <'],
  'config explain': ['--access <', '--config <'],
}

/** The help of a command, and of all below it. */
async function helps(words: readonly string[] = []): Promise<readonly (readonly [string, string])[]> {
  const { status, stdout, stderr } = await run([...words, '--help'])
  expect([words, status, stderr]).toEqual([words, 0, ''])
  const list = /\nCommands:\n((?: {2,}.*\n)+)/.exec(stdout)?.[1] ?? ''
  const names = [...list.matchAll(/^ {2}(\S+)/gm)].flatMap(([, name = '']) => (name === 'help' ? [] : [name]))
  const below = await Promise.all(names.map((name) => helps([...words, name])))
  return [[words.join(' '), stdout], ...below.flat()]
}

it('the help of each command fits on a screen, and names what an operator needs', async () => {
  const found = new Map(await helps())
  for (const name of [...WITH_EXAMPLES, ...Object.keys(LISTED), 'serve', 'token revoke', 'version'])
    expect([...found.keys()]).toContain(name)
  for (const [name, text] of found) {
    const lines = text.trimEnd().split('\n')
    expect([name, lines.filter((line) => line.length > COLUMNS)]).toEqual([name, []])
    expect([name, lines.length <= LINES]).toEqual([name, true])
    // Settings that matter to few commands are listed in one place.
    expect([name, text.includes('--origin-timeout')]).toEqual([name, false])
  }
  for (const name of WITH_EXAMPLES) {
    const examples = /\nExamples:\n((?: {2,}.*\n)+)/.exec(found.get(name) ?? '')?.[1] ?? ''
    const count = examples.split('\n').filter((line) => line.includes(`hubmirror ${name}`)).length
    expect([name, count >= 3]).toEqual([name, true])
  }
  for (const [name, options] of Object.entries(LISTED)) {
    for (const option of options) expect(found.get(name)).toContain(` ${option}`)
    expect(found.get(name)).toContain('hubmirror config --describe')
  }
})
