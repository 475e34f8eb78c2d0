import { describe, expect, it } from 'vitest'
import { parseConfigFile } from '../../../src/config/file.ts'

const read = (text: string) => parseConfigFile(text, 'h.yaml')
const names = (text: string) => read(text).entries.map((entry) => `${entry.name}=${entry.text}`)

describe('the YAML file', () => {
  it.each([
    'cache:\n  maxSize: 1GB',
    'cacheMaxSize: 1GB',
    'cache: {max-size: 1GB}',
    'cache.maxSize: 1GB',
    'cache_max_size: "1GB"',
    'cache: {max: {size: 1GB}}',
  ])('reads %j as the same name', (text) => {
    expect(names(text)).toEqual(['CACHE_MAX_SIZE=1GB'])
  })

  it('gives the position of each value', () => {
    expect(read('host: a\n\ncache:\n  # why\n  dir: /x').entries.map((entry) => entry.where)).toEqual([
      'h.yaml:1:7',
      'h.yaml:5:8',
    ])
  })

  it('keeps numbers and switches as they are written', () => {
    expect(names('port: 08080\noffline: on\nwrites: true\nx: 1e3')).toEqual([
      'PORT=08080',
      'OFFLINE=on',
      'WRITES=true',
      'X=1e3',
    ])
  })

  it('reads a list like one with commas, and an empty one as none', () => {
    expect(names('redirectHosts: ["*.hf.co", a.b]\ntrustProxy: []')).toEqual([
      'REDIRECT_HOSTS=*.hf.co,a.b',
      'TRUST_PROXY=none',
    ])
  })

  it.each(['', '# nothing', 'token:', 'token: ""', 'token: ~', '---\n'])('finds nothing in %j', (text) => {
    expect(read(text)).toEqual({ entries: [], sections: new Map(), faults: [] })
  })

  it.each([
    ['a: [', '(syntax)'],
    ['a: 1\na: 2', '(syntax)'],
    ['just words', '(top level)'],
    ['- a', '(top level)'],
    ['a: [[b]]', 'a'],
    ['a: [{b: c}]', 'a'],
    ['a: &x 1\nb: *x', 'b'],
    ['? [a]\n: b', '(top level)'],
  ])('reports %j with its place', (text, key) => {
    const [fault] = read(text).faults
    expect(fault?.key).toBe(key)
    expect(fault?.where).toMatch(/^h\.yaml:\d+:\d+$/)
  })

  it('reports the first errors of invalid YAML, and how many more there are', () => {
    const lines = (count: number) => Array.from({ length: count }, (_, n) => `k${n}: @`).join('\n')
    expect(read(lines(3)).faults.map(({ where }) => where)).toEqual([
      'h.yaml:1:5',
      'h.yaml:2:5',
      'h.yaml:3:5',
    ])
    const { faults } = read(lines(1_000))
    expect(faults).toHaveLength(4)
    expect(faults[3]).toMatchObject({ key: '(syntax)', where: 'h.yaml:4:5' })
    expect(faults[3]?.cure).toContain('997 more')
  })

  it('does not follow a nesting without end', () => {
    expect(read(`${'{a: '.repeat(50)}1${'}'.repeat(50)}`).faults).toHaveLength(1)
    expect(read('a: &x {b: *x}').entries).toEqual([])
  })
})
