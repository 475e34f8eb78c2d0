import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../../src/errors.ts'
import {
  rewriteDocument,
  rewriteLink,
  rewriteLocation,
  rewritten,
  rewrittenLength,
  scanDocument,
} from '../../../src/hub/rewrite.ts'
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

  it('reports that Xet is off to a client that asked for it', () => {
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

  it.each([
    [`[ { "path" : "é", "xetHash" : "${XET}" } ]`, '[ { "path" : "é" } ]'],
    ['[{"xetHash":1,"a":1}]', '[{"a":1}]'],
    ['[{"xetHash":1,"xetHash":2,"a":1,"xetHash":{"b":[1]},"c":2,"xetHash":3}]', '[{"a":1,"c":2}]'],
    ['[{"xetHash":1,"xetHash":2}]', '[{}]'],
    ['[{"xetHash":{"url":"https://huggingface.co/x","xetHash":[]}},{"a":1}]', '[{},{"a":1}]'],
    ['[{"\\u0078etHash":1,"a":1}]', '[{"a":1}]'],
    [
      '[{"cardData":{"xetHash":1,"url":"https://huggingface.co/x"}}]',
      '[{"cardData":{"url":"https://huggingface.co/x"}}]',
    ],
    [
      '[{"xetEnabled":{"url":"https://huggingface.co/x"}},{"xetEnabled":0}]',
      '[{"xetEnabled":false},{"xetEnabled":false}]',
    ],
    ['[{"a":"https:\\/\\/huggingface.co\\/x"}]', '[{"a":"http://mirror:8080/hf\\/x"}]'],
    ['[{"a":"\\u0068ttps://huggingface.co?\\u00e9"}]', '[{"a":"http://mirror:8080/hf?\\u00e9"}]'],
    ['[{"a":"https://huggingface.co\\n/x"}]', '[{"a":"https://huggingface.co\\n/x"}]'],
  ])('changes no more than it must: %s', (text, expected) => {
    expect(rewrite(text, 'tree')).toBe(expected)
  })

  it('keeps numbers, repeated keys, their order and escapes as the Hub wrote them', () => {
    const rest =
      '"size":9007199254740993,"n":-0,"f":1.0,"e":1E400,"d":0.1000000000000000055511151231257827,"2":0,"1":0,"a":"\\u00e9\\ud800","a":"\\/"'
    expect(rewrite(`{"xetHash":"x",${rest}}`)).toBe(`{${rest}}`)
    expect(rewrite(`{"url":"https://huggingface.co/x",${rest}}`)).toBe(
      `{"url":"http://mirror:8080/hf/x",${rest}}`,
    )
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

  it('leaves text that people wrote unchanged', () => {
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
  ] as const)('refuses %s', (_, text, document) => {
    expect(() => rewrite(text, document)).toThrow(expect.objectContaining({ code: 'origin_bad_answer' }))
  })

  it('refuses broken UTF-8', () => {
    const body = Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])
    expect(() => rewriteDocument(body, { ...bases, document: 'repo', stripXet: true })).toThrow(MirrorError)
  })

  it('returns what a change of the parsed document would return', () => {
    const names = ['xetHash', 'xetEnabled', 'cardData', 'path', '__proto__', 'a', 'url']
    const key = fc.oneof(fc.constantFrom(...names), fc.string({ maxLength: 3, unit: 'binary' }))
    const url = fc
      .tuple(
        fc.constantFrom('https://huggingface.co', 'HTTP://HuggingFace.CO', 'https://hf.co', 'https://other'),
        fc.constantFrom('', '/', '/x', '?a', '.evil', '@evil', ':1'),
      )
      .map((parts) => parts.join(''))
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ maxDepth: 5 }, tie('leaf'), fc.array(tie('tree'), { maxLength: 3 }), tie('object')),
      object: fc
        .array(fc.tuple(key, tie('tree')), { maxLength: 4 })
        .map((pairs) => Object.fromEntries(pairs)),
      leaf: fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.constantFrom(null, true, false),
        url,
      ),
    }))
    // Blanks between tokens, and characters written as escapes.
    const dress = fc.tuple(fc.constantFrom(undefined, 1, '\t'), fc.boolean(), fc.boolean())
    fc.assert(
      fc.property(
        fc.oneof(fc.array(tree), tree),
        dress,
        fc.boolean(),
        (value, [indent, escapes, mark], strip) => {
          let text = JSON.stringify(value, undefined, indent)
          if (escapes) text = text.replaceAll('/', '\\/').replaceAll(/(?<!\\)[gGH]/g, escaped)
          const document = Array.isArray(value) ? 'tree' : 'repo'
          const given = (mark ? '\uFEFF' : '') + text
          const expected = reference(text, document === 'tree', strip)
          if (expected === undefined) {
            expect(() => rewrite(given, document, strip)).toThrow(MirrorError)
            return
          }
          const written = rewrite(given, document, strip)
          expect(JSON.parse(written.replace(/^\uFEFF/, ''))).toEqual(expected)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('accepts as JSON what JSON.parse accepts', () => {
    const piece = fc.constantFrom(
      ...'{}[],:"\\'.split(''),
      '"a"',
      '0',
      '-',
      '1',
      '.',
      'e',
      '+',
      'true',
      'false',
      'null',
      'nul',
      ' ',
      '\n',
      '\0',
      '\u00e9',
      '\\u00',
      '\\n',
      '1.5e+3',
      '01',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        for (const text of [`[${pieces.join('')}]`, `{"k":${pieces.join('')}}`, `["${pieces.join('')}"]`]) {
          const document = text.startsWith('[') ? 'tree' : 'repo'
          const isJson = parses(text)
          const call = () => rewrite(text, document)
          if (isJson) expect(call).not.toThrow()
          else expect(call).toThrow(MirrorError)
        }
      }),
      { numRuns: 3_000 },
    )
  })

  it('returns the same for slices of any length, in pieces of the announced length', () => {
    const entry = `{"xetHash":"x","path":"ü","url":"https://huggingface.co/x","size":1.0}`
    const body = Buffer.from(`[${Array.from({ length: 5_000 }, () => entry).join(',')}]`)
    const options = { ...bases, document: 'tree', stripXet: true } as const
    const whole = rewriteDocument(body, options)
    for (const sliceBytes of [1, 7, 1_000, 1e9]) {
      const scan = scanDocument(body, options)
      let slices = 1
      while (!scan.run(sliceBytes)) slices += 1
      expect(slices > 1).toBe(sliceBytes < body.length)
      const pieces = [...rewritten(body, scan.plan, bases.mirrorBase)]
      expect(pieces.length).toBeGreaterThan(1)
      expect(Buffer.concat(pieces).equals(whole)).toBe(true)
      expect(rewrittenLength(body, scan.plan, bases.mirrorBase)).toBe(whole.length)
    }
  })

  it('finds the place of each member of a document', () => {
    const text = '{"a":{"sha":"inner"},"sha":"first", "tags" : [ 1 ],"\\u0073ha":"last"}'
    const scan = scanDocument(Buffer.from(text), {
      ...bases,
      document: 'repo',
      stripXet: true,
      members: ['sha', 'tags', 'none'],
    })
    scan.run()
    const found = [...scan.plan.members].map(([name, [start, end]]) => [name, text.slice(start, end)])
    expect(found).toEqual([
      ['sha', '"last"'],
      ['tags', '[ 1 ]'],
    ])
  })
})

/** A letter as JSON may write it, too. */
function escaped(letter: string): string {
  return `\\u00${letter.charCodeAt(0).toString(16)}`
}

function parses(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** What the rewriting means, done on the parsed document; undefined where there is none of that shape. */
function reference(text: string, isList: boolean, stripXet: boolean): unknown {
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null || Array.isArray(value) !== isList) return undefined
  const people = ['cardData', 'config', 'widgetData', 'title', 'message', 'description']
  const visit = (each: unknown, isQuoted: boolean, depth: number): unknown => {
    if (typeof each === 'string' && !isQuoted) {
      const match = /^https?:\/\/huggingface\.co(?=$|[/?])/i.exec(each)
      return match === null ? each : bases.mirrorBase + each.slice(match[0].length)
    }
    if (Array.isArray(each)) return each.map((item) => visit(item, isQuoted, depth + 1))
    if (typeof each !== 'object' || each === null) return each
    const entries = Object.entries(each).filter(([name]) => !stripXet || name !== 'xetHash')
    const isTop = depth === (isList ? 1 : 0)
    return Object.fromEntries(
      entries.map(([name, item]) => [
        name,
        stripXet && isTop && name === 'xetEnabled'
          ? false
          : visit(item, isQuoted || people.includes(name), depth + 1),
      ]),
    )
  }
  return visit(value, false, 0)
}

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
  ])('leads from page to page through the mirror, in the one form that all clients read: %s', (value) => {
    expect(link(value)).toBe(NEXT)
  })

  it('drops the link to Xet, and the header with it if nothing is left', () => {
    expect(link(`${AUTH}, ${PLAN}`)).toBeUndefined()
    expect(link('<https://x/y>; rel="foo xet-auth"')).toBeUndefined()
  })

  it('points Xet authentication at the mirror when it is proxied', () => {
    expect(link(`${AUTH}, ${PLAN}`, false)).toBe(
      `<http://mirror:8080/hf/api/models/u/r/xet-read-token/x>; rel="xet-auth", ${PLAN}`,
    )
  })

  it('keeps links to other hosts', () => {
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
    'returns undefined for %j',
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

  it('keeps URLs beside the base of the origin foreign', () => {
    const options = { originBase: 'http://up:1/base', mirrorBase: 'http://m' }
    expect(rewriteLocation('/base/x', new URL('http://up:1/base/y'), options)).toEqual({
      kind: 'mirror',
      location: '/x',
    })
    expect(rewriteLocation('/other', new URL('http://up:1/base/y'), options)).toMatchObject({
      kind: 'foreign',
    })
  })

  it('returns undefined for text that is no URL', () => {
    expect(() => located('https://[')).toThrow(expect.objectContaining({ code: 'origin_bad_answer' }))
  })
})
