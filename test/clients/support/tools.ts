// Where the real clients are, and what to do when one is not: fail in CI, skip aloud elsewhere. They are brought by
// test/clients/setup.sh. Knows nothing of what the clients do.

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, it } from 'vitest'
import { isLeftOut } from './place.ts'

const CACHE = fileURLToPath(new URL('../../../.ci/cache', import.meta.url))
const SCRIPTS = fileURLToPath(new URL('../scripts', import.meta.url))

/** The Python of the environment made from `requirements/{name}.txt`. */
export function pythonOf(name: string): string {
  return join(CACHE, `venv-${name}`, 'bin', 'python')
}

/** A command that the environment brought, such as `hf`. */
export function commandOf(name: string, command: string): string {
  return join(CACHE, `venv-${name}`, 'bin', command)
}

/** The folder from which the JavaScript clients can be imported. */
export const nodeClients = join(CACHE, 'node-clients')

/** The program that reads by hf-hub; its first argument is the generation. Only `setup.sh --all` builds it. */
export const rustClients = join(CACHE, 'rust-clients', 'hubmirror-clients')

/** A script beside this folder. */
export function scriptPath(name: string): string {
  return join(SCRIPTS, name)
}

/**
 * Describes what a client does when all of `needs` (paths, or names of commands) are there, brought by `setup`. `onlyAtRoot`
 * says why a run for another place (place.ts) leaves it out.
 */
export function describeClient(
  title: string,
  needs: readonly string[],
  body: () => void,
  options: { readonly setup?: string; readonly onlyAtRoot?: string } = {},
): void {
  const { setup = 'test/clients/setup.sh', onlyAtRoot } = options
  if (onlyAtRoot !== undefined && isLeftOut(title, onlyAtRoot)) {
    describe.skip(title, body)
    return
  }
  const absent = needs.filter((need) => !isThere(need))
  if (absent.length === 0) {
    describe(title, body)
    return
  }
  const reason = `${absent.join(', ')} not found: run ${setup}`
  if (process.env['CI'] === 'true') {
    describe(title, () => {
      it('is installed', () => {
        throw new Error(reason)
      })
    })
    return
  }
  console.warn(`SKIPPED ${title}: ${reason}`)
  describe.skip(title, body)
}

/** Whether there is such a file, or such a command. */
export function isThere(need: string): boolean {
  if (need.includes('/')) return existsSync(need)
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, need)))
}
