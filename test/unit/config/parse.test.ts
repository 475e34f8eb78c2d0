import { homedir } from 'node:os'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  basePath,
  bytes,
  choice,
  count,
  directory,
  duration,
  host,
  hostPattern,
  list,
  network,
  onOff,
  orOff,
  orWord,
  type Parsed,
  port,
  rate,
  secret,
  url,
} from '../../../src/config/parse.ts'

const valueOf = <T>(parsed: Parsed<T>): T => {
  if ('fault' in parsed) throw new Error(parsed.fault)
  return parsed.value
}
const faultOf = (parsed: Parsed<unknown>): string => ('fault' in parsed ? parsed.fault : 'no fault')

it('a parser that also accepts a word, or `off`, leaves all other texts to the parser', () => {
  const parse = orOff(orWord('origin', url()))
  expect(valueOf(parse('Origin'))).toBe('origin')
  expect(valueOf(parse('off'))).toBeUndefined()
  expect(valueOf(parse('https://a.example/b'))).toEqual(new URL('https://a.example/b'))
  expect(faultOf(parse('origins'))).toContain('expected a URL')
})

describe('rate', () => {
  it('reads a number and a time, and off as none', () => {
    expect(valueOf(rate()('600/1m'))).toEqual({ max: 600, windowMs: 60_000 })
    expect(valueOf(rate()(' 5 / 2s '.trim()))).toEqual({ max: 5, windowMs: 2_000 })
    expect(valueOf(rate()('off'))).toBeUndefined()
  })

  it.each(['600', '600/', '/1m', '0/1m', '5/0s', '5/1m/2', '-1/1m', '1e9/1m', '5/60', 'many/1m'])(
    'says what would be right instead of %s',
    (text) => {
      expect(faultOf(rate()(text))).toBe('expected a number and a time, such as 600/1m')
    },
  )
})

describe('bytes', () => {
  it.each([
    ['200GB', 2e11],
    ['1GiB', 2 ** 30],
    ['500Gi', 500 * 2 ** 30],
    ['64MB', 64e6],
    ['1.5 kb', 1500],
    ['0B', 0],
    ['2TiB', 2 * 2 ** 40],
  ])('reads %s', (text, value) => {
    expect(valueOf(bytes()(text))).toBe(value)
  })

  it.each(['', '200', '200G', '-1GB', '1e9B', 'GB', '1GB2', '0x10B', '∞GB', '1,5GB'])(
    'refuses %j',
    (text) => {
      expect(faultOf(bytes()(text))).toContain('expected a size with a unit such as 200GB')
    },
  )

  it('says which unit a bare number may have meant', () => {
    expect(faultOf(bytes()('200'))).toContain('did you mean 200GB?')
  })

  it('refuses a size below the smallest sensible one', () => {
    expect(faultOf(bytes({ min: 1000 })('0B'))).toBe('expected at least 1000 bytes')
  })

  it('refuses sizes that a number cannot hold exactly', () => {
    expect(faultOf(bytes()('99999PB'))).toContain('below 9PB')
  })

  it('never returns anything but a whole number of bytes', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 5000, noNaN: true }),
        fc.constantFrom('B', 'kB', 'MB', 'GB', 'TB', 'KiB', 'MiB', 'GiB', 'Ti'),
        (number, unit) => {
          expect(Number.isSafeInteger(valueOf(bytes()(`${number.toFixed(3)}${unit}`)))).toBe(true)
        },
      ),
    )
  })
})

describe('duration', () => {
  const parse = duration({ maxMs: 3_600_000 })

  it.each([
    ['90s', 90_000],
    ['5m', 300_000],
    ['0s', 0],
    ['0.0 minutes', 0],
    ['250ms', 250],
    ['1h', 3_600_000],
    ['1.5 min', 90_000],
  ])('reads %s', (text, value) => {
    expect(valueOf(parse(text))).toBe(value)
  })

  it.each(['', '90', '0', '-1s', '1h30m', 's', '5 parsecs', '0 parsecs', 'NaNs'])('refuses %j', (text) => {
    expect(faultOf(parse(text))).toContain('expected a time with a unit such as 90s')
  })

  it('refuses times outside of its limits', () => {
    expect(faultOf(parse('2h'))).toBe('expected at most 3600s')
    expect(faultOf(duration({ minMs: 100, maxMs: 1000 })('1ms'))).toBe('expected at least 100ms')
  })
})

describe('numbers, words and switches', () => {
  it.each([
    ['0', 0],
    ['65535', 65_535],
  ])('reads port %s', (text, value) => {
    expect(valueOf(port()(text))).toBe(value)
  })

  it.each(['65536', '-1', '80.5', '0x50', '1e3', '', ' 80', 'tcp://10.0.0.1:80'])(
    'refuses port %j',
    (text) => {
      expect(faultOf(port()(text))).toContain('whole number from 0 to 65535')
    },
  )

  it('keeps numbers within bounds', () => {
    expect(faultOf(count({ min: 1, max: 64 })('0'))).toBe('expected a whole number from 1 to 64')
  })

  it('takes one word of a list in any case, and names the others', () => {
    expect(valueOf(choice(['forward', 'deny'])('DENY'))).toBe('deny')
    expect(faultOf(choice(['forward', 'deny'])('read-only'))).toBe('expected one of forward, deny')
  })

  it('says what to do instead of a word that is not available yet', () => {
    expect(faultOf(choice(['strip', 'proxy'], new Map([['proxy', 'later; use strip']]))('proxy'))).toBe(
      'later; use strip',
    )
  })

  it.each([
    ['on', true],
    ['TRUE', true],
    ['1', true],
    ['yes', true],
    ['off', false],
    ['false', false],
    ['0', false],
    ['No', false],
  ])('reads the switch %s', (text, value) => {
    expect(valueOf(onOff()(text))).toBe(value)
  })

  it.each(['', 'enabled', 'onn', '2'])('refuses the switch %j', (text) => {
    expect(faultOf(onOff()(text))).toBe('expected on or off')
  })
})

describe('url', () => {
  it.each([
    ['https://huggingface.co', 'https://huggingface.co/'],
    ['https://host/hub/', 'https://host/hub'],
    ['HTTP://Host:8080//', 'http://host:8080/'],
    ['http://[::1]:9000/a/b', 'http://[::1]:9000/a/b'],
  ])('reads %s', (text, href) => {
    expect(valueOf(url()(text)).href).toBe(href)
  })

  it.each([
    ['huggingface.co', 'a URL such as'],
    ['ftp://host', 'a URL such as'],
    ['https:host', 'a URL such as'],
    ['https://', 'a URL such as'],
    ['https://user:pass@host', 'without a user name'],
    ['https://hf_token@host', 'without a user name'],
    ['https://host/?a=b', 'without a query'],
    ['https://host/?', 'without a query'],
    ['https://host/#a', 'without a query'],
  ])('refuses %s', (text, cure) => {
    expect(faultOf(url()(text))).toContain(cure)
  })
})

describe('paths', () => {
  it.each([
    ['/', '/'],
    ['//', '/'],
    ['/hugging-face', '/hugging-face'],
    ['/hugging-face/', '/hugging-face'],
    ['/a/b.c/~d', '/a/b.c/~d'],
  ])('reads the prefix %s', (text, value) => {
    expect(valueOf(basePath()(text))).toBe(value)
  })

  it.each(['', 'a', '/a//b', '/a/../b', '/.', '/a b', '/%2e%2e', '/a?b', '/a\\b'])(
    'refuses the prefix %j',
    (text) => {
      expect(faultOf(basePath()(text))).toContain('path prefix')
    },
  )

  it('makes directories absolute', () => {
    expect(valueOf(directory()('/var/cache/../cache/hub/'))).toBe('/var/cache/hub')
    expect(valueOf(directory()('store'))).toBe(`${process.cwd()}/store`)
    expect(valueOf(directory()('~/store'))).toBe(`${homedir()}/store`)
  })

  it.each(['/', '/a/..', 'a\0b'])('refuses the directory %j', (text) => {
    expect(faultOf(directory()(text))).toContain('expected a directory')
  })
})

describe('hosts and networks', () => {
  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['[::1]', '::1'],
    ['::', '::'],
    ['LocalHost', 'localhost'],
  ])('listens on %s', (text, value) => {
    expect(valueOf(host()(text))).toBe(value)
  })

  it.each(['*', '', 'a:80', 'http://a', 'a b', '-a', 'a..b'])('does not listen on %j', (text) => {
    expect(faultOf(host()(text))).toContain('expected an address')
  })

  it.each([
    ['*.HF.co', '*.hf.co'],
    ['cdn.example', 'cdn.example'],
    ['10.0.0.1', '10.0.0.1'],
    ['[fd00::1]', 'fd00::1'],
  ])('takes the host pattern %s', (text, value) => {
    expect(valueOf(hostPattern()(text))).toBe(value)
  })

  it.each(['*', '*.', '*hf.co', 'a.*.b', 'hf.co:443', 'https://hf.co', 'hf.co/x', '1.2.3', '*.1.2', 'a@b'])(
    'refuses the host pattern %j',
    (text) => {
      expect(faultOf(hostPattern()(text))).toContain('*.suffix')
    },
  )

  it.each(['10.0.0.0/8', '127.0.0.1', '::1', 'fd00::/8', '0.0.0.0/0'])('takes the network %s', (text) => {
    expect(valueOf(network()(text))).toBe(text)
  })

  it.each([
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    'example.org',
    '10.0.0.0/-1',
    'fe80::1%eth0',
  ])('refuses the network %j', (text) => {
    expect(faultOf(network()(text))).toContain('10.0.0.0/8')
  })

  it('reads lists with spaces and stray commas, and the empty list as none', () => {
    expect(valueOf(list(hostPattern())(' *.hf.co , a.b,'))).toEqual(['*.hf.co', 'a.b'])
    expect(valueOf(list(hostPattern())('none'))).toEqual([])
  })

  it('refuses a list for one wrong item', () => {
    expect(faultOf(list(network())('10.0.0.0/8,x'))).toContain('networks')
  })
})

describe('secret', () => {
  it.each(['', 'a b', 'tökén', 'a\nb', 'a\r\nX-Evil: 1'])('refuses %j, which no header can carry', (text) => {
    expect(faultOf(secret()(text))).toContain('printable ASCII')
  })

  it('keeps the value', () => {
    expect(valueOf(secret()('hf_abc')).reveal()).toBe('hf_abc')
  })
})

it('any text is a value or a fault, and the fault never repeats the text', () => {
  const parsers = [bytes(), duration({ maxMs: 1e9 }), port(), url(), basePath(), host(), secret(), network()]
  fc.assert(
    fc.property(fc.string({ minLength: 20, unit: 'binary' }), fc.constantFrom(...parsers), (text, parse) => {
      const parsed = parse(text)
      expect('value' in parsed || !parsed.fault.includes(text)).toBe(true)
    }),
  )
})
