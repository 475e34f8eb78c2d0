import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { brokenLinks, missingFiles } from '../../docs/links.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

function pages(): readonly string[] {
  const below = ['docs', 'nginx-compare', 'deploy'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`),
  )
  return [...readdirSync(ROOT), ...below].filter((name) => name.endsWith('.md')).sort()
}

it('every relative link of every page leads to a file, and to a heading of it', () => {
  expect(pages().length).toBeGreaterThan(20)
  expect(pages().flatMap((page) => brokenLinks(ROOT, page))).toEqual([])
})

it('every source file that a page names exists', () => {
  const current = pages().filter((page) => page !== 'CHANGELOG.md')
  expect(current.flatMap((page) => missingFiles(ROOT, page))).toEqual([])
})
