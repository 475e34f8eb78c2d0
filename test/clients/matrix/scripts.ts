// Where the scripts of the table's clients lie.

import { fileURLToPath } from 'node:url'

/** The path of a script of `scripts/`. */
export function scriptOf(name: string): string {
  return fileURLToPath(new URL(`./scripts/${name}`, import.meta.url))
}
