// A store as version 0.2.0 has written it (`store-of-0.2.0.json`, file by file), and more facts in its form: JSON in a file
// of its own, under the sha256 of the key.

import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What the mirror of that store had as HUBMIRROR_ORIGIN. */
export const OLDER_ORIGIN = 'https://hub.example/'
/** The one file of the one repo, `acme/open`, at this commit, which is main. */
export const OLDER_FILE = { path: 'config.json', text: '{"a":1}\n', commit: 'c'.repeat(40) } as const

/** Writes the store to `root`, which exists. */
export async function writeOlderStore(root: string): Promise<void> {
  const source = fileURLToPath(new URL('store-of-0.2.0.json', import.meta.url))
  const files = JSON.parse(await readFile(source, 'utf8')) as Record<string, string>
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true, mode: 0o700 })
    await writeFile(join(root, name), text, { mode: 0o600 })
  }
}

/** Writes a fact of a file as that version did. Resolves with the name of its file. */
export async function writeOlderFact(root: string, key: string, value: unknown): Promise<string> {
  const hex = createHash('sha256').update(key).digest('hex')
  const file = join(root, 'facts/files', hex.slice(0, 2), `${hex}.json`)
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await writeFile(file, JSON.stringify({ key, value }), { mode: 0o600 })
  return file
}
