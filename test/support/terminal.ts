// A command as a user runs it at a terminal. Knows no command.

import { spawn } from 'node:child_process'
import { BIN, ROOT } from './run-cli.ts'

/** Part of util-linux, and so of every Linux: gives a process a terminal, and passes on what is typed and printed. */
const TERMINAL = 'script'

interface InTerminal {
  /** Everything that has appeared so far, including codes that move the cursor. */
  readonly screen: () => string
  /** Types; `\u0003` is Ctrl-C. */
  readonly type: (keys: string) => void
  /** The exit status. */
  readonly ended: Promise<number | null>
}

/** Runs the built command line. `args` are words without characters that a shell interprets. */
export function runInTerminal(args: readonly string[], env: Readonly<Record<string, string>>): InTerminal {
  const command = ['exec', process.execPath, BIN, ...args].join(' ')
  const child = spawn(TERMINAL, ['-qec', command, '/dev/null'], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', TERM: 'xterm', ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  return {
    screen: () => said,
    type: (keys) => void child.stdin.write(keys),
    ended: new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    }),
  }
}

const COLUMNS = 80
const ESCAPE = '\u001b'
const CODE_OR_CHARACTER = new RegExp(`${ESCAPE}\\[[?\\d]*([a-zA-Z])|${ESCAPE}[78]|[^${ESCAPE}]`, 'gu')

/** The lines that a user sees in the end, on a terminal of 80 columns without a bottom line. */
export function linesOn(said: string): string[] {
  const rows = new Map<number, string>()
  let [row, column, wraps] = [0, 0, true]
  let saved = { row, column }
  const line = (): string => rows.get(row) ?? ''
  for (const [token, command] of said.matchAll(CODE_OR_CHARACTER)) {
    if (token === '\r') column = 0
    else if (token === '\n') row += 1
    else if (token === '\u001b7') saved = { row, column }
    else if (token === '\u001b8') ({ row, column } = saved)
    else if (token.startsWith('\u001b[?7')) wraps = command === 'h'
    else if (command === 'G') column = Number(/\d+/.exec(token)?.[0] ?? 1) - 1
    else if (command === 'A') row -= Number(/\d+/.exec(token)?.[0] ?? 1)
    else if (command === 'J') {
      rows.set(row, line().slice(0, column))
      for (const below of rows.keys()) if (below > row) rows.delete(below)
    } else if (command === 'K') rows.set(row, line().slice(0, column))
    else if (command === undefined) {
      if (column === COLUMNS && wraps) [row, column] = [row + 1, 0]
      // Without wrapping, everything that is too far right is printed in the last column.
      column = Math.min(column, COLUMNS - 1)
      rows.set(row, line().slice(0, column).padEnd(column) + token + line().slice(column + 1))
      column += 1
    }
  }
  return Array.from({ length: Math.max(...rows.keys()) + 1 }, (_, index) => (rows.get(index) ?? '').trimEnd())
}
