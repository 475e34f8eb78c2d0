import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../../src/errors.ts'
import { rewriteDocument, rewriteLink, rewriteLocation } from '../../../src/hub/rewrite.ts'
import type { HubDocument } from '../../../src/hub/route.ts'

const bases = { originBase: 'https://huggingface.co', mirrorBase: 'http://mirror:8080/hf' }
const XET = 'd'.repeat(64)

function rewrite(text: string, document: HubDocument = 'repo', stripXet = true): string {
  return rewriteDocument(Buffer.from(text), { ...bases, document, stripXet }).toString()
}

describe('rewriteDocument', () => {
  it('removes xetHash at any depth, masked ones too, and keeps lfs', () => {
    const entry = `{"type":"file","path":"a","lfs":{"oid":"x","size":1},"xetHash":"${XET}"}`
    const kept = '{"type":"file","path":"a","lfs":{"oid":"x","size":1}}'
    expect(rewrite(`[${entry},${entry.replace(XET, '*'.repeat(64))}]`, 'tree')).toBe(`[${kept},${kept}]`)
    expect(rewrite(`{"siblings":[{"deep":{"xetHash":null,"a":1}}]}`)).toBe('{"siblings":[{"deep":{"a":1}}]}')
  })

  it('says that Xet is off where somebody asked', () => {
    expect(rewrite('{"xetEnabled":true,"a":{"xetEnabled":true}}')).toBe(
      '{"xetEnabled":false,"a":{"xetEnabled":true}}',
    )
    expect(rewrite('[{"xetEnabled":true}]', 'list')).toBe('[{"xetEnabled":false}]')
  })

  it('leaves Xet alone when it is proxied', () => {
    const text = `[{"path":"a","xetHash":"${XET}"}]`
    expect(rewrite(text, 'tree', false)).toBe(text)
  })

  it('returns bytes that need no change as they are', () => {
    for (const text of [
      '{ "a" : 1.0 }',
      '{"a":"https://example.org/"}',
      '{"xetEnabled":false}',
      '{"n":12345678901234567890}',
    ]) {
      const body = Buffer.from(text)
      expect(rewriteDocument(body, { ...bases, document: 'repo', stripXet: true })).toBe(body)
    }
  })

  it('writes compact JSON when it writes', () => {
    expect(rewrite(`[ { "path" : "é", "xetHash" : "${XET}" } ]`, 'tree')).toBe('[{"path":"é"}]')
  })

  it.each([
    ['https://huggingface.co/u/r/resolve/main/x', 'http://mirror:8080/hf/u/r/resolve/main/x'],
    ['http://huggingface.co/u/r', 'http://mirror:8080/hf/u/r'],
    ['HTTPS://HuggingFace.co/u/R', 'http://mirror:8080/hf/u/R'],
    ['https://huggingface.co', 'http://mirror:8080/hf'],
    ['https://huggingface.co?x=1', 'http://mirror:8080/hf?x=1'],
    ['https://huggingface.co.evil/x', undefined],
    ['https://huggingface.co@evil/x', undefined],
    ['https://huggingface.co:444/x', undefined],
    ['https://cdn-lfs.huggingface.co/x', undefined],
    ['see https://huggingface.co/x', undefined],
    ['//huggingface.co/x', undefined],
  ])('turns the string %s into %s', (url, expected) => {
    expect(JSON.parse(rewrite(JSON.stringify({ url })))).toEqual({ url: expected ?? url })
  })

  it('turns the other names of the origin too', () => {
    const options = {
      originBase: 'http://up:1/base/',
      mirrorBase: 'http://m/',
      aliases: ['https://huggingface.co/'],
    }
    const body = Buffer.from(
      '{"a":"http://up:1/base/x","b":"https://huggingface.co/x","c":"http://up:1/other"}',
    )
    const written = rewriteDocument(body, { ...options, document: 'repo', stripXet: true })
    expect(JSON.parse(written.toString())).toEqual({
      a: 'http://m/x',
      b: 'http://m/x',
      c: 'http://up:1/other',
    })
  })

  it('leaves alone what people wrote', () => {
    const text =
      '{"cardData":{"a":["https://huggingface.co/x",{"b":"https://huggingface.co/y"}]},"description":"https://huggingface.co/z"}'
    expect(rewrite(text)).toBe(text)
    const commits = '[{"title":"https://huggingface.co/x","message":"https://huggingface.co/y"}]'
    expect(rewrite(commits, 'commits')).toBe(commits)
  })

  it('keeps __proto__ a key, and touches no prototype', () => {
    const text = `{"__proto__":{"xetHash":"x","polluted":"https://huggingface.co/x"},"constructor":{"prototype":{"xetHash":1}}}`
    expect(rewrite(text)).toBe(
      '{"__proto__":{"polluted":"http://mirror:8080/hf/x"},"constructor":{"prototype":{}}}',
    )
    expect(rewrite('{"__proto__":"https://huggingface.co/x"}')).toBe(
      '{"__proto__":"http://mirror:8080/hf/x"}',
    )
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false)
  })

  it.each([
    ['no JSON', '<html>Please log in</html>', 'repo'],
    ['nothing', '', 'repo'],
    ['half a document', '{"a":', 'repo'],
    ['a string', '"x"', 'repo'],
    ['null', 'null', 'repo'],
    ['an object where a tree should be', '{"error":"x"}', 'tree'],
    ['an array where a repo should be', '[]', 'repo'],
    ['a bottomless document', `[${'['.repeat(100_000)}${']'.repeat(100_000)}]`, 'tree'],
  ] as const)('does not trust %s', (_, text, document) => {
    expect(() => rewrite(text, document)).toThrow(expect.objectContaining({ code: 'origin_bad_answer' }))
  })

  it('does not trust broken UTF-8', () => {
    const body = Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])
    expect(() => rewriteDocument(body, { ...bases, document: 'repo', stripXet: true })).toThrow(MirrorError)
  })

  it('leaves no xetHash and no URL of the origin, and loses nothing else', () => {
    const key = fc.oneof(fc.constantFrom('xetHash', 'path', '__proto__', 'a'), fc.string({ maxLength: 3 }))
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ maxDepth: 5 }, tie('leaf'), fc.array(tie('tree'), { maxLength: 3 }), tie('object')),
      object: fc
        .array(fc.tuple(key, tie('tree')), { maxLength: 4 })
        .map((pairs) => Object.fromEntries(pairs)),
      leaf: fc.oneof(fc.string(), fc.integer(), fc.constant(null), fc.constant('https://huggingface.co/x')),
    }))
    const expected = (value: unknown): unknown => {
      if (value === 'https://huggingface.co/x') return 'http://mirror:8080/hf/x'
      if (Array.isArray(value)) return value.map(expected)
      if (typeof value !== 'object' || value === null) return value
      const entries = Object.entries(value).filter(([name]) => name !== 'xetHash')
      return Object.fromEntries(entries.map(([name, each]) => [name, expected(each)]))
    }
    fc.assert(
      fc.property(fc.array(tree), (value) => {
        const text = JSON.stringify(value)
        expect(rewrite(text, 'tree')).toBe(JSON.stringify(expected(JSON.parse(text))))
      }),
    )
  })
})

describe('rewriteLink', () => {
  const link = (value: string, stripXet = true): string | undefined =>
    rewriteLink(value, { ...bases, stripXet })
  const NEXT = '<http://mirror:8080/hf/api/models/u/r/tree/main?limit=1000&cursor=ZXlK>; rel="next"'
  const AUTH = '<https://huggingface.co/api/models/u/r/xet-read-token/x>; rel="xet-auth"'
  const PLAN = '<https://cas-server.xethub.hf.co/v1/reconstructions/x>; rel="xet-reconstruction-info"'

  it.each([
    '<https://huggingface.co/api/models/u/r/tree/main?limit=1000&cursor=ZXlK>; rel="next"',
    '<https://huggingface.co/api/models/u/r/tree/main?limit=1000&cursor=ZXlK>;rel=next',
    '<https://huggingface.co/api/models/u/r/tree/main?limit=1000&cursor=ZXlK> ;  REL = "next"; title="a, b"',
    '</api/models/u/r/tree/main?limit=1000&cursor=ZXlK>; rel="next"',
    `${AUTH}, <https://huggingface.co/api/models/u/r/tree/main?limit=1000&cursor=ZXlK>; rel="next", ${PLAN}`,
  ])('pages through the mirror, in the one form all clients read: %s', (value) => {
    expect(link(value)).toBe(NEXT)
  })

  it('drops the way into Xet, and the header with it when nothing is left', () => {
    expect(link(`${AUTH}, ${PLAN}`)).toBeUndefined()
    expect(link('<https://x/y>; rel="foo xet-auth"')).toBeUndefined()
  })

  it('points Xet authentication at the mirror when it is proxied', () => {
    expect(link(`${AUTH}, ${PLAN}`, false)).toBe(
      `<http://mirror:8080/hf/api/models/u/r/xet-read-token/x>; rel="xet-auth", ${PLAN}`,
    )
  })

  it('keeps links to others', () => {
    expect(link('<https://example.org/a,b>; rel="canonical"; title="x, y"')).toBe(
      '<https://example.org/a,b>; rel="canonical"; title="x, y"',
    )
    expect(link('<//evil/x>; rel="next"')).toBe('<//evil/x>; rel="next"')
  })

  it('reads a path relative to the host of the origin, not to its base', () => {
    const options = { originBase: 'http://up:1/base', mirrorBase: 'http://m', stripXet: true }
    expect(rewriteLink('</base/api/x?cursor=1>; rel="next"', options)).toBe(
      '<http://m/api/x?cursor=1>; rel="next"',
    )
  })

  it.each(['', 'garbage', '<unclosed', '<https://huggingface.co/x>; rel="next"\r\nX: y'])(
    'has no answer to %j',
    (value) => {
      expect(link(value)).toBeUndefined()
    },
  )
})

describe('rewriteLocation', () => {
  const from = new URL('https://huggingface.co/u/r/resolve/main/x')
  const located = (location: string): unknown => rewriteLocation(location, from, bases)

  it.each([
    ['/api/resolve-cache/models/u/r/x?etag=%22a%22', '/hf/api/resolve-cache/models/u/r/x?etag=%22a%22'],
    ['https://huggingface.co/new/name', '/hf/new/name'],
    ['http://huggingface.co/new/name', '/hf/new/name'],
    ['//huggingface.co/new/name', '/hf/new/name'],
    ['y', '/hf/u/r/resolve/main/y'],
    ['https://huggingface.co', '/hf/'],
    ['/../../../x', '/hf/x'],
  ])('keeps %s at the mirror, as a path', (location, expected) => {
    expect(located(location)).toEqual({ kind: 'mirror', location: expected })
  })

  it('never makes a host out of a path', () => {
    const root = { ...bases, mirrorBase: 'http://mirror:8080/' }
    for (const path of ['//evil.example/x', '/\\evil.example/x', '///evil.example']) {
      const answer = rewriteLocation(`https://huggingface.co${path}`, from, root)
      expect(answer).toEqual({ kind: 'mirror', location: expect.stringMatching(/^\/[^/\\]/) })
    }
  })

  it.each([
    'https://cdn.hf.co/x?Signature=s',
    'https://huggingface.co.evil/x',
    'https://huggingface.co:444/x',
    'https://user@huggingface.co/x',
    'https://huggingface.co@evil/x',
    '//evil/x',
    '\\\\evil/x',
    'javascript:alert(1)',
  ])('calls %s foreign', (location) => {
    expect(located(location)).toEqual({ kind: 'foreign', url: new URL(location, from) })
  })

  it('keeps apart what lies beside the base of the origin', () => {
    const options = { originBase: 'http://up:1/base', mirrorBase: 'http://m' }
    expect(rewriteLocation('/base/x', new URL('http://up:1/base/y'), options)).toEqual({
      kind: 'mirror',
      location: '/x',
    })
    expect(rewriteLocation('/other', new URL('http://up:1/base/y'), options)).toMatchObject({
      kind: 'foreign',
    })
  })

  it('does not trust what is no URL', () => {
    expect(() => located('https://[')).toThrow(expect.objectContaining({ code: 'origin_bad_answer' }))
  })
})
