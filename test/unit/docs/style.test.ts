import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { findBanned } from '../../docs/style.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const WITH_PROSE = /\.(?:ts|cts|mjs|sh|py|md|ya?ml|conf|cfg|service)$|(?:^|\/)(?:Dockerfile|run|check-fast)$/
/** What setup scripts install within the suites. */
const INSTALLED = /(?:^|\/)(?:node_modules|\.venv[^/]*)\//
/** Where prose stands: files, and folders with all that is below them. */
const PLACES = [
  '.ci/check-fast',
  '.ci/run',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'README.md',
  'SECURITY.md',
  ...['deploy', 'docs', 'nginx-compare', 'src', 'test'].flatMap(placesIn),
]

function placesIn(folder: string): readonly string[] {
  return readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`)
}

function filesOf(name: string): readonly string[] {
  if (!statSync(join(ROOT, name)).isDirectory()) return WITH_PROSE.test(name) ? [name] : []
  return readdirSync(join(ROOT, name), { recursive: true, encoding: 'utf8' })
    .filter((below) => WITH_PROSE.test(below) && !INSTALLED.test(below))
    .map((below) => `${name}/${below}`)
    .sort()
}

function words(name: string, ...lines: readonly string[]): readonly string[] {
  return findBanned(name, lines.join('\n')).map(({ line, word }) => `${line} ${word}`)
}

it.each(PLACES)('the prose of %s has no banned word', (name) => {
  const found = filesOf(name).flatMap((file) =>
    findBanned(file, readFileSync(join(ROOT, file), 'utf8')).map(
      ({ line, word, instead }) => `${file}:${line}: "${word}"; ${instead}`,
    ),
  )
  expect(found).toEqual([])
})

describe('what counts as prose', () => {
  it('a script has prose in its comments alone', () => {
    expect(
      words(
        'a.ts',
        "const whoever = 'nobody // nobody'",
        'const lines = `nobody ${nobody /* somebody */} // nobody`',
        'const pattern = /[/]whoever/ // Whoever reads this',
      ),
    ).toEqual(['2 somebody', '3 Whoever'])
  })

  it('a phrase is found across two lines of a comment, and not across code', () => {
    expect(words('a.ts', '/**', ' * Bytes are held', ' * against their digest.', ' */')).toEqual([
      '2 held against',
    ])
    expect(words('a.ts', '// held', 'const x = 1', '// against')).toEqual([])
  })

  it('a page has prose outside of code and of targets of links', () => {
    expect(
      words(
        'a.md',
        'See [the page](nobody.md) and `nobody`, anew.',
        '```sh',
        'echo nobody',
        '```',
        'Nobody knows.',
      ),
    ).toEqual(['1 anew', '5 Nobody'])
  })

  it('a configuration has prose in lines that begin with a hash', () => {
    expect(words('a.sh', '#!/bin/nobody', 'echo nobody # nobody', '  # nobody')).toEqual(['3 nobody'])
  })

  it('a word within another one, or joined to it by a hyphen, is not meant', () => {
    expect(
      words('a.md', 'Bookshelf, untold, marshall, told-off; a Hub token is lent, and a lent token.'),
    ).toEqual([])
    expect(words('a.md', 'A lent buffer', 'is told.')).toEqual(['1 lent', '2 told'])
  })
})
