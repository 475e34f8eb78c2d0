// Completion in the shells themselves: each reads the script and completes a line as if a user had pressed Tab.

import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { skippedFor } from './absent.ts'
import { run as runCommand } from './run-cli.ts'

const exec = promisify(execFile)

const scripts = new Map<string, string>()

/** Why a shell cannot be tested; undefined if it can. */
async function whyNot(shell: string): Promise<string | undefined> {
  try {
    await exec(shell, ['-c', 'exit 0'])
    return undefined
  } catch (error) {
    return skippedFor(`completion in ${shell}, which is not installed`, error)
  }
}

// zsh completes only at a terminal, which its own module for pseudo-terminals provides.
const ASK: Record<string, (script: string, line: string) => readonly string[]> = {
  bash: (script, line) => [
    '-c',
    `source "$1"; COMP_WORDS=($2 ""); [[ $2 == *" " ]] || unset "COMP_WORDS[-1]"
     COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _hubmirror; printf '%s\\n' "\${COMPREPLY[@]}"`,
    'bash',
    script,
    line,
  ],
  fish: (script, line) => ['--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', script, line],
  zsh: (script, line) => [
    '-f',
    '-c',
    `autoload -U compinit; compinit -u -D; source "$1"
     compadd() { shift; print -l -- "$@" }; _files() { :; }
     words=(\${(z)2}); [[ $2 != *" " ]] || words+=(""); CURRENT=$#words; _hubmirror`,
    'zsh',
    script,
    line,
  ],
}

async function complete(shell: string, line: string): Promise<readonly string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-completion-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const script = join(folder, 'script')
  await writeFile(script, scripts.get(shell) ?? '')
  const { stdout, stderr } = await exec(shell, [...(ASK[shell]?.(script, line) ?? [])], { cwd: folder })
  expect(stderr).toBe('')
  const typed = line.slice(line.lastIndexOf(' ') + 1)
  const words = stdout.split('\n').map((each) => each.split('\t')[0] ?? '')
  // zsh itself leaves out candidates that do not begin with the typed text.
  return words.filter((word) => word !== '' && word !== 'script' && word.startsWith(typed)).sort()
}

type Case = readonly [line: string, completions: readonly string[]]

/** Declares the tests of these lines in each shell. */
export async function describeCompletion(cases: readonly Case[]): Promise<void> {
  beforeAll(async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { status, stdout } = await runCommand(['completion', shell])
      expect(status).toBe(0)
      scripts.set(shell, stdout)
    }
  })

  for (const shell of ['bash', 'zsh', 'fish']) {
    const absent = await whyNot(shell)
    describe.skipIf(absent !== undefined)(`completion in ${shell}`, () => {
      it.each(cases)('completes "%s"', async (line, expected) => {
        expect(await complete(shell, line)).toEqual(expected)
      })
    })
  }
}
