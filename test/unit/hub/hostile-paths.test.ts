import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../../src/errors.ts'
import { formatHubUrl, parseHubUrl } from '../../../src/hub/route.ts'
import { commit } from './repo.ts'

const SHA = commit('a')

function refusalOf(target: string): string {
  try {
    parseHubUrl(target, '/')
  } catch (error) {
    if (error instanceof MirrorError) return error.code
    throw error
  }
  return 'accepted'
}

describe('hostile segments', () => {
  const dots = ['.', '..', '%2e', '%2E%2e', '.%2e', '%2e.']
  const slashes = ['%2f', '%2F']
  const payloads = [
    dots,
    dots.flatMap((dot) => slashes.map((slash) => `${dot}${slash}x`)),
    dots.flatMap((dot) => slashes.map((slash) => `x${slash}${dot}${slash}y`)),
    dots.flatMap((dot) => slashes.map((slash) => `x${slash}${dot}`)),
    ['\\', '%5c', '%5C', '..\\..', '..%5c..%5cetc', 'x\\y'],
    ['%00', 'x%00', '%00.txt', '%0a', '%0D%0A', '%1f', '%7f', '%09', '\x01', '\x7f', 'x\ty'],
  ].flat()
  const positions = [
    (bad: string) => `/${bad}/r/resolve/main/x`,
    (bad: string) => `/u/${bad}/resolve/main/x`,
    (bad: string) => `/u/r/resolve/${bad}/x`,
    (bad: string) => `/u/r/resolve/main/${bad}`,
    (bad: string) => `/u/r/resolve/main/a/${bad}/b`,
    (bad: string) => `/api/models/u/r/tree/main/${bad}`,
    (bad: string) => `/api/models/u/r/revision/${bad}`,
    (bad: string) => `/u/r/raw/main/${bad}`,
    (bad: string) => `/api/whoami-v2/${bad}`,
    (bad: string) => `/${bad}`,
  ]

  it(`refuses ${payloads.length * positions.length} ways to leave the path`, () => {
    for (const position of positions) {
      for (const payload of payloads) {
        expect([position(payload), refusalOf(position(payload))]).toEqual([position(payload), 'bad_url'])
      }
    }
  })

  it('a dot, an empty or a raw segment is never in the result, whatever came in', () => {
    const piece = fc.constantFrom(
      ...'/ // . .. %2e %2f %2F %5c %25 %00 %C3%A9 \xc3\xa9 [ %zz ? & ;'.split(' '),
      ...`api models datasets u r resolve raw tree main refs pr 1 ${SHA}`.split(' '),
      'x y',
    )
    let accepted = 0
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
        let target: string
        try {
          target = formatHubUrl(parseHubUrl(`/${pieces.join('')}`, '/'))
        } catch (error) {
          expect(error).toBeInstanceOf(MirrorError)
          return
        }
        accepted += 1
        expect(target).toMatch(/^\/[!"$-~]*$/)
        const [path = ''] = target.split('?')
        const url = new URL(target, 'https://hub.example')
        expect(url.origin).toBe('https://hub.example')
        expect(url.pathname).toBe(path)
        const inner = decodeURIComponent(path).slice(1).replace(/\/$/, '')
        for (const segment of inner === '' ? [] : inner.split('/'))
          expect(['', '.', '..']).not.toContain(segment)
        // Canonical: what comes out is read as the same thing again.
        expect(formatHubUrl(parseHubUrl(target, '/'))).toBe(target)
      }),
      { numRuns: 2000 },
    )
    expect(accepted).toBeGreaterThan(100)
  })
})
