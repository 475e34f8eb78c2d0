import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../../src/errors.ts'
import type { OriginAnswer } from '../../../src/origin/client.ts'
import { anywhere, followRedirects, type Redirect, withinOrigin } from '../../../src/origin/follow.ts'
import { MAX_HOPS, type RedirectPolicy } from '../../../src/origin/redirect.ts'

const POLICY: RedirectPolicy = {
  base: new URL('https://huggingface.co/'),
  allowedHosts: ['cdn.hf.co'],
}
const FIRST = new URL('https://huggingface.co/org/name/resolve/main/w.bin')

interface Hop {
  readonly status: number
  readonly location?: string
}

/** Answers each hop with the next of `hops`, and writes down what was sent, and what became of each body. */
function originOf(hops: readonly Hop[]) {
  const sent: string[] = []
  const dropped: number[] = []
  const send = (url: URL, isOwn: boolean): Promise<OriginAnswer> => {
    const index = sent.length
    const { status, location } = hops[Math.min(index, hops.length - 1)] ?? { status: 500 }
    sent.push(`${url.href}${isOwn ? ' with its credential' : ''}`)
    const dump = (): Promise<void> => {
      dropped.push(index)
      return Promise.resolve()
    }
    const body = Object.assign(Readable.from([Buffer.from('x')]), { dump })
    return Promise.resolve({ status, headers: location === undefined ? {} : { location }, body })
  }
  return { send, sent, dropped }
}

describe('followRedirects', () => {
  it.each([200, 206, 304, 404, 503])('returns an answer of status %i without a Location', async (status) => {
    const { send, dropped } = originOf([{ status }])
    const followed = await followRedirects(POLICY, FIRST, send, anywhere())
    expect(followed).toMatchObject({ kind: 'answer', url: FIRST, answer: { status } })
    expect(dropped).toEqual([])
  })

  it.each([200, 201, 404])('does not take the Location of a %i for a redirect', async (status) => {
    const { send, sent } = originOf([{ status, location: 'https://evil.example/' }])
    expect(await followRedirects(POLICY, FIRST, send, anywhere())).toMatchObject({ kind: 'answer' })
    expect(sent).toHaveLength(1)
  })

  it('says at each hop whether the credential may go along, and drops the bodies of redirects', async () => {
    const { send, sent, dropped } = originOf([
      { status: 307, location: '/renamed/name/resolve/main/w.bin' },
      { status: 302, location: 'https://cdn.hf.co/w.bin?Signature=x' },
      { status: 206 },
    ])
    const followed = await followRedirects(POLICY, FIRST, send, anywhere())
    expect(sent).toEqual([
      'https://huggingface.co/org/name/resolve/main/w.bin with its credential',
      'https://huggingface.co/renamed/name/resolve/main/w.bin with its credential',
      'https://cdn.hf.co/w.bin?Signature=x',
    ])
    expect(dropped).toEqual([0, 1])
    expect(followed).toMatchObject({ kind: 'answer', url: new URL('https://cdn.hf.co/w.bin?Signature=x') })
  })

  it.each([
    ['never ends', () => new Promise<void>(() => undefined)],
    ['breaks off', () => Promise.reject(new Error('reset'))],
  ] as const)('follows a redirect whose body %s', async (_, dump) => {
    const hops = originOf([{ status: 302, location: 'https://cdn.hf.co/w.bin' }, { status: 200 }])
    const send = async (url: URL, isOwn: boolean): Promise<OriginAnswer> => {
      const answer = await hops.send(url, isOwn)
      return { ...answer, body: Object.assign(answer.body, { dump }) }
    }
    expect(await followRedirects(POLICY, FIRST, send, anywhere())).toMatchObject({ kind: 'answer' })
  })

  it.each(['https://huggingface.co/org/name/resolve/main/w.bin', 'https://cdn.hf.co/w.bin'])(
    'sends nothing where another host redirects back to the origin, beginning with %s',
    async (first) => {
      const { send, sent } = originOf([
        { status: 302, location: 'https://cdn.hf.co/w.bin' },
        { status: 302, location: 'https://huggingface.co/org/secret/resolve/main/w.bin' },
        { status: 200 },
      ])
      const followed = await followRedirects(POLICY, new URL(first), send, anywhere())
      expect(followed).toEqual({
        kind: 'loop',
        url: new URL('https://huggingface.co/org/secret/resolve/main/w.bin'),
      })
      expect(sent.slice(1)).toEqual(['https://cdn.hf.co/w.bin'])
    },
  )

  it('calls mayFollow with each redirect before it is taken, and stops where it returns false', async () => {
    const { send, sent } = originOf([
      { status: 301, location: '/a' },
      { status: 302, location: 'https://cdn.hf.co/b' },
    ])
    const asked: [string, boolean][] = []
    const mayFollow = ({ to, isOwn }: Redirect): boolean => {
      asked.push([to.href, isOwn])
      return isOwn
    }
    const followed = await followRedirects(POLICY, FIRST, send, mayFollow)
    expect(followed).toEqual({ kind: 'stopped', url: new URL('https://cdn.hf.co/b') })
    expect(asked).toEqual([
      ['https://huggingface.co/a', true],
      ['https://cdn.hf.co/b', false],
    ])
    expect(sent).toHaveLength(2)
  })

  it('sends nothing to a host that the policy does not allow', async () => {
    const { send, sent } = originOf([{ status: 302, location: 'https://evil.example/x' }])
    const following = followRedirects(POLICY, FIRST, send, () => {
      throw new Error('mayFollow was called')
    })
    await expect(following).rejects.toMatchObject({ code: 'redirect_refused' })
    expect(sent).toHaveLength(1)
  })

  it('sends nothing where mayFollow throws', async () => {
    const { send, sent } = originOf([{ status: 307, location: '/renamed' }])
    const moved = new MirrorError('not_found')
    const following = followRedirects(POLICY, FIRST, send, () => {
      throw moved
    })
    await expect(following).rejects.toBe(moved)
    expect(sent).toHaveLength(1)
  })

  it(`gives up after ${MAX_HOPS} redirects`, async () => {
    const { send, sent, dropped } = originOf([{ status: 307, location: '/again' }])
    const followed = await followRedirects(POLICY, FIRST, send, anywhere())
    expect(followed).toEqual({ kind: 'loop', url: new URL('https://huggingface.co/again') })
    expect(sent).toHaveLength(MAX_HOPS + 1)
    expect(dropped).toHaveLength(MAX_HOPS + 1)
  })
})

describe.each([
  ['withinOrigin', withinOrigin, false],
  ['anywhere', anywhere, true],
] as const)('%s', (_name, rule, leaves) => {
  it('calls onRedirect for a redirect within the origin only', () => {
    const seen: string[] = []
    const mayFollow = rule((url) => seen.push(url.href))
    const own = new URL('https://huggingface.co/a')
    const other = new URL('https://cdn.hf.co/b')
    expect(mayFollow({ to: own, isOwn: true, headers: {} })).toBe(true)
    expect(mayFollow({ to: other, isOwn: false, headers: {} })).toBe(leaves)
    expect(seen).toEqual([own.href])
  })

  it('passes on what onRedirect throws', () => {
    const mayFollow = rule(() => {
      throw new Error('another repo')
    })
    expect(() => mayFollow({ to: FIRST, isOwn: true, headers: {} })).toThrow('another repo')
  })
})
