// `hubmirror token` in a process of its own, and a folder for its list.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { run } from './run-cli.ts'

/** Runs the command. */
export const token = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  run(['token', ...args], { HOME: tmpdir(), ...env })

/** A folder that is removed after the test. */
export async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-token-commands-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}
