// The behaviour table of nginx-compare/README.md, played again: what it claims of nginx and of the mirror holds, and the
// table says it.

import { readFileSync } from 'node:fs'
import { beforeAll, expect, it } from 'vitest'
import { CONTESTANTS, type ContestantName } from '../compare/contestants.ts'
import { markdown, playAll, type Row } from '../compare/table.ts'
import { describeClient, pythonOf } from './support/tools.ts'

const FOLDER = new URL('../../nginx-compare/', import.meta.url)
const PLAY_WITHIN_MS = 300_000
/** Which error a broken connection gives depends on the last packet. */
const BROKEN = /`(ReadError|ReadTimeout|RemoteProtocolError)`/

describeClient(
  'the comparison with nginx',
  ['nginx', 'curl', 'aria2c', pythonOf('hub-2')],
  () => {
    let rows: readonly Row[] = []

    beforeAll(async () => {
      rows = await playAll()
    }, PLAY_WITHIN_MS)

    const cells = (name: ContestantName, chapter: string, title: RegExp) =>
      rows.filter((row) => row.chapter === chapter && title.test(row.title)).map((row) => row.cells[name])
    const login = (name: ContestantName, title: RegExp) => cells(name, 'Private and gated repos', title)

    it('the naive cache alone gives a private file to the second caller', () => {
      for (const title of [/^… then (by|with)/]) {
        expect(login('naive-cache', title)).toContain('**gets the file**')
        for (const name of ['pass-through', 'careful', 'mirror'] as const) {
          expect(login(name, title).length).toBeGreaterThan(4)
          expect(login(name, title), name).not.toContain('**gets the file**')
        }
      }
      expect(login('naive-cache', /^… then bob/)).toEqual(['**gets the answer for alice**'])
    })

    it('private and gated repos open through every server but the one that blanks the token', () => {
      const readers = /by a user who/
      expect(login('pass-through', readers).join()).not.toContain('ok')
      expect(login('careful', readers)).toEqual(['ok', 'ok', 'ok', 'ok'])
      expect(login('mirror', readers)).toEqual(['ok', 'ok', 'ok', 'ok'])
      expect(login('naive-cache', /after another was refused/)).toEqual(['`RepositoryNotFoundError`'])
    })

    it('the CDN sees the token only where a client is redirected there with it', () => {
      expect(login('naive-cache', /aria2/)).toEqual(['**token sent to the CDN**'])
      expect(login('careful', /aria2/)).toEqual(['ok'])
      expect(login('mirror', /aria2/)).toEqual(['ok'])
    })

    it('the mirror alone serves callers who are logged in from the cache', () => {
      const loggedIn = /again, by a user who is logged in/
      expect(cells('careful', 'Public repos', loggedIn)).toEqual(['ok, fetched again'])
      expect(cells('mirror', 'Public repos', loggedIn)).toEqual(['ok, from the cache'])
    })

    it('a client of the mirror never takes wrong bytes for the file, and is never led past the mirror', () => {
      const text = rows.map((row) => row.cells.mirror).join('\n')
      expect(text).not.toMatch(/\*\*|past it|leaves/)
      for (const name of ['pass-through', 'naive-cache', 'careful'] as const) {
        expect(cells(name, 'An origin that breaks', /wrong byte/), name).toContain(
          '**wrong bytes, no error**',
        )
      }
      expect(cells('mirror', 'An origin that breaks', /^… then by another user/)).toEqual([
        'ok',
        'ok',
        'ok',
        'ok',
      ])
    })

    it('the written table is the one that was played just now', () => {
      const written = JSON.parse(readFileSync(new URL('behaviour.json', FOLDER), 'utf8')) as Row[]
      const readme = readFileSync(new URL('README.md', FOLDER), 'utf8')
      expect(readme, 'npm run compare').toContain(markdown(written))
      expect(written.map(comparable)).toEqual(rows.map(comparable))
    })
  },
  { onlyAtRoot: 'it compares servers that it starts itself' },
)

function comparable(row: Row): Row {
  // Whether nginx ends a cut answer with a FIN or a reset is chance, and so is whether Python tries again.
  if (row.title === 'large file, cut off in the middle')
    return { ...row, cells: { ...row.cells, careful: '', 'pass-through': '', 'naive-cache': '' } }
  const cells = CONTESTANTS.map((name) => [name, row.cells[name].replace(BROKEN, 'broken connection')])
  return { ...row, cells: Object.fromEntries(cells) as Row['cells'] }
}
