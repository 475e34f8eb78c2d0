import { execFileSync } from 'node:child_process'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { ConfigFaults } from '../../../src/config/faults.ts'
import { type Config, rows } from '../../../src/config/keys.ts'
import { type ConfigSources, loadConfig } from '../../../src/config/load.ts'
import { envName, flagName } from '../../../src/config/setting-names.ts'
import { DIRECT } from '../../../src/http/proxies.ts'

const FILE = '/etc/hubmirror.yaml'

function load(
  sources: ConfigSources & { readonly yaml?: string; readonly files?: Record<string, string> } = {},
) {
  const { yaml, files = {}, env = {}, flags = {} } = sources
  const all: Record<string, string> = yaml === undefined ? files : { ...files, [FILE]: yaml }
  return loadConfig({
    flags,
    env: { HOME: '/home/u', ...(yaml === undefined ? {} : { HUBMIRROR_CONFIG: FILE }), ...env },
    readFile: (path) => {
      const text = all[path]
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
      return text
    },
  })
}

function faultsOf(sources: Parameters<typeof load>[0]): ConfigFaults {
  try {
    load(sources)
  } catch (error) {
    if (error instanceof ConfigFaults) return error
    throw error
  }
  throw new Error('the configuration was accepted')
}

describe('a config without any source', () => {
  it('has the defaults of the contract', () => {
    const { config } = load()
    const expected: Omit<Config, 'origin'> = {
      host: '127.0.0.1',
      port: 8080,
      basePath: '/',
      cacheDir: '/home/u/.cache/hubmirror',
      cacheMinFreeBytes: 1e9,
      cachePrivate: false,
      gitClones: 'auto',
      refTtlMs: 10_000,
      accessTtlMs: 60_000,
      staleGraceMs: 3_600_000,
      offline: false,
      hubTokens: new Map(),
      xet: 'strip',
      writes: 'forward',
      redirectHosts: ['*.hf.co', '*.huggingface.co'],
      datasetsServer: 'origin',
      logLevel: 'info',
      originTimeoutMs: 20_000,
      originConnections: 64,
      pullConnections: 6,
      pullAbandoned: 'auto',
      readAhead: 'auto',
      trustProxy: [],
      sendfile: 'off',
      clientsAllow: [],
      clientsDeny: [],
      drainDelayMs: 8_000,
      drainTimeoutMs: 30_000,
      workers: 1,
      memoryCacheBytes: 64e6,
      policies: [],
      proxies: DIRECT,
    }
    const { origin, ...rest } = config
    expect(rest).toStrictEqual(expected)
    expect(origin.href).toBe('https://huggingface.co/')
  })

  it('is frozen', () => {
    expect(Object.isFrozen(load().config)).toBe(true)
  })

  it('keeps the store where XDG says, unless that is relative', () => {
    expect(load({ env: { XDG_CACHE_HOME: '/x$&' } }).config.cacheDir).toBe('/x$&/hubmirror')
    expect(load({ env: { XDG_CACHE_HOME: 'x' } }).config.cacheDir).toBe('/home/u/.cache/hubmirror')
  })

  it('ignores HF_HUB_OFFLINE and HF_ENDPOINT, which belong to clients', () => {
    const { config } = load({ env: { HF_HUB_OFFLINE: '1', HF_ENDPOINT: 'http://127.0.0.1:8080' } })
    expect(config.offline).toBe(false)
    expect(config.origin.hostname).toBe('huggingface.co')
  })
})

describe('precedence', () => {
  const yaml = 'port: 1\nhost: file\nref: {ttl: 1s}'

  it('is flag, environment, file, default', () => {
    const env = { HUBMIRROR_PORT: '2', HUBMIRROR_HOST: 'env' }
    const { config, provenance } = load({ yaml, env, flags: { port: '3' } })
    expect(config).toMatchObject({ port: 3, host: 'env', refTtlMs: 1000, offline: false })
    expect(provenance.get('port')).toEqual({ source: 'flag', where: '--port', shown: '3' })
    expect(provenance.get('host')).toEqual({ source: 'environment', where: 'HUBMIRROR_HOST', shown: 'env' })
    expect(provenance.get('refTtl')).toEqual({ source: 'file', where: `${FILE}:3:12`, shown: '1s' })
    expect(provenance.get('offline')).toEqual({ source: 'default', where: '', shown: 'off' })
  })

  it('takes an empty value as not given, at every source', () => {
    const { config } = load({ yaml: 'port:', env: { HUBMIRROR_HOST: ' ' }, flags: { logLevel: '' } })
    expect(config).toMatchObject({ port: 8080, host: '127.0.0.1', logLevel: 'info' })
  })

  it('has no value that undoes what a weaker source has set', () => {
    const { config } = load({
      yaml: 'cache: {maxSize: 1GB}\nredirectHosts: [a.b]\ntoken: abc',
      env: { HUBMIRROR_CACHE_MAX_SIZE: 'none', HUBMIRROR_REDIRECT_HOSTS: 'none', HUBMIRROR_TOKEN: 'none' },
    })
    expect('cacheMaxSizeBytes' in config || 'token' in config).toBe(false)
    expect(config.redirectHosts).toEqual([])
  })

  it('reads the file that the flag names rather than that of the environment', () => {
    const { config } = load({
      flags: { config: '/b.yaml' },
      env: { HUBMIRROR_CONFIG: '/a.yaml' },
      files: { '/b.yaml': 'port: 5' },
    })
    expect(config.port).toBe(5)
  })

  it.each(rows().map((row) => [row.key, row] as const))('spells %s in three mechanical ways', (key, row) => {
    const flag = flagName(key).slice(2)
    expect(flag.replaceAll('-', '_').toUpperCase()).toBe(envName(key).slice('HUBMIRROR_'.length))
    const text = row.default === undefined || row.default.startsWith('$') ? undefined : row.default
    if (text === undefined) return
    const camel = flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
    const found = [
      load({ flags: { [camel]: text } }),
      load({ env: { [envName(key)]: text } }),
      load({ yaml: JSON.stringify({ [key]: text }) }),
    ].map(({ provenance }) => provenance.get(key)?.source)
    expect(found).toEqual(['flag', 'environment', 'file'])
  })
})

describe('faults', () => {
  it('are all reported at once, each with key, source, value and cure', () => {
    const error = faultsOf({
      yaml: 'cache:\n  maxSize: 200\nfoo: bar',
      env: { HUBMIRROR_PORT: '99999', HUBMIRROR_ORIGINS: 'x' },
      flags: { offline: 'maybe' },
    })
    expect(error.message).toBe(
      [
        '5 settings are wrong:',
        '  HUBMIRROR_ORIGINS (environment HUBMIRROR_ORIGINS)',
        '    no such setting; did you mean HUBMIRROR_ORIGIN?',
        `  foo (file ${FILE}:3:6)`,
        "    no such setting; see 'hubmirror help' for all settings",
        '  port = "99999" (environment HUBMIRROR_PORT)',
        '    expected a whole number from 0 to 65535',
        '  cache.maxSize = "200" (file /etc/hubmirror.yaml:2:12)',
        '    expected a size with a unit such as 200GB or 1GiB; did you mean 200GB?',
        '  offline = "maybe" (flag --offline)',
        '    expected on or off',
      ].join('\n'),
    )
  })

  it.each([
    ['redirectHosts: *.hf.co', 'redirectHosts', 'expected quotes'],
    ['redirectHosts: [*.hf.co, a.b]', 'redirectHosts', 'expected quotes'],
    ['policies: [{action: deny, match: {file: *.bin}}]', 'policies.1.match.file', 'expected quotes'],
    ['policies: [{action: deny, match: {file: [*.bin]}}]', 'policies.1.match.file.1', 'expected quotes'],
    ['polcies: [{action: deny}]', 'polcies', 'did you mean policies?'],
    ['prot: [[1]]', 'prot', 'did you mean port?'],
    ['cache: [[1]]', 'cache', 'expected a single value'],
    ['tokens: [{a: b}]', 'tokens', 'expected a single value'],
    ['port: [[1]]', 'port', 'expected a single value'],
  ])('of %j are one, and name the cure', (yaml, key, cure) => {
    expect(faultsOf({ yaml }).faults).toMatchObject([{ key, cure: expect.stringContaining(cure) }])
  })

  it('name the cure for Xet, which is not available yet', () => {
    expect(faultsOf({ env: { HUBMIRROR_XET: 'proxy' } }).faults).toMatchObject([
      { key: 'xet', value: 'proxy', cure: 'proxy is not available yet; use strip' },
    ])
  })

  it.each([
    ['twice in the file', { yaml: 'cache: {maxSize: 1GB}\ncacheMaxSize: 2GB' }],
    ['a secret and its file', { env: { HUBMIRROR_TOKEN: 'a', HUBMIRROR_TOKEN_FILE: '/t' } }],
  ])('refuse one setting given %s', (_, sources) => {
    expect(faultsOf(sources).faults[0]?.cure).toContain('expected this setting once; it is also given as')
  })

  it('say only that a file is not YAML', () => {
    const { message } = faultsOf({ yaml: Array.from({ length: 50 }, (_, n) => `k${n}: @`).join('\n') })
    expect(message).toMatch(/^the settings file cannot be read as YAML:\n/)
    expect(message).toContain('and 47 more after this')
  })

  it('say that the file cannot be read', () => {
    expect(faultsOf({ flags: { config: '/gone' } }).faults).toEqual([
      {
        key: 'config',
        source: 'flag',
        where: '--config',
        value: '/gone',
        cure: 'expected a readable YAML file (ENOENT)',
      },
    ])
  })

  it('explain the variables that Kubernetes sets for a Service', () => {
    const env = { HUBMIRROR_SERVICE_HOST: '10.0.0.1', HUBMIRROR_PORT: 'tcp://10.0.0.1:8080' }
    const { faults } = faultsOf({ env })
    expect(faults.map((fault) => fault.cure)).toEqual([
      expect.stringContaining('enableServiceLinks: false'),
      expect.stringContaining('enableServiceLinks: false'),
    ])
  })

  it('do not let a value or a key add lines', () => {
    expect(faultsOf({ yaml: '"a\\nb": 1' }).message.split('\n')).toHaveLength(3)
    const { message } = faultsOf({ env: { HUBMIRROR_HOST: 'a\n  port = "1"\u001b[2J' } })
    expect(message.split('\n')).toHaveLength(3)
    expect(message).not.toContain('\u001b')
  })
})

describe('rules between settings', () => {
  it.each([
    ['http://127.0.0.1:8080', {}],
    ['http://localhost:8080/', {}],
    ['http://[::1]:8080', { host: '::' }],
    ['http://127.0.0.9:8080', { host: '0.0.0.0' }],
    ['http://mirror.lan', { host: 'mirror.lan', port: '80' }],
    ['https://mirror.lan/hub', { publicUrl: 'https://mirror.lan/hub/' }],
  ])('refuse the origin %s, which is the mirror itself', (origin, flags) => {
    expect(faultsOf({ flags: { origin, ...flags } }).faults).toMatchObject([{ key: 'origin' }])
  })

  it.each([
    ['http://127.0.0.1:8081', {}],
    ['http://127.0.0.2:8080', {}],
    ['http://192.0.2.1:8080', { host: '0.0.0.0' }],
    ['https://localhost', {}],
    ['http://localhost:8080', { port: '0' }],
  ])('accept the origin %s beside it', (origin, flags) => {
    expect(load({ flags: { origin, ...flags } }).config.origin.href).toContain(origin)
  })

  it('are checked although another setting is wrong', () => {
    const { faults } = faultsOf({ flags: { origin: 'http://127.0.0.1:8080', xet: 'proxy' } })
    expect(faults.map((fault) => fault.key)).toEqual(['xet', 'origin'])
  })

  it('do not run if a setting that they read is wrong itself', () => {
    const { faults } = faultsOf({ flags: { origin: 'http://127.0.0.1:8080', host: '*' } })
    expect(faults.map((fault) => fault.key)).toEqual(['host'])
  })
})

describe('secrets', () => {
  const TOKEN = 'hf_ThisMustNeverBeShownAnywhere1234'
  // Only its place shows that this value is a secret.
  const OPAQUE = 'ThisMustNeverBeShownEither'

  it.each([
    ['a flag', { flags: { token: OPAQUE } }],
    ['the environment', { env: { HUBMIRROR_TOKEN: OPAQUE } }],
    ['the file', { yaml: `token: ${OPAQUE}` }],
    ['a file of its own, by flag', { flags: { tokenFile: '/t' }, files: { '/t': `${OPAQUE}\n` } }],
    ['a file of its own, by environment', { env: { HUBMIRROR_TOKEN_FILE: '/t' }, files: { '/t': OPAQUE } }],
    ['a file of its own, by the file', { yaml: 'tokenFile: /t', files: { '/t': `${OPAQUE}\r\n` } }],
  ])('come from %s and are never shown', (_, sources) => {
    const { config, provenance } = load(sources)
    expect(config.token?.reveal()).toBe(OPAQUE)
    expect(
      inspect({ config, provenance }, { depth: 9 }) + JSON.stringify([config, ...provenance]),
    ).not.toContain(TOKEN)
  })

  it('name the file that they come from', () => {
    const { provenance } = load({ flags: { adminTokenFile: '/run/a' }, files: { '/run/a': 'x' } })
    expect(provenance.get('adminToken')).toEqual({
      source: 'flag',
      where: '--admin-token-file',
      shown: '••• (from /run/a)',
    })
  })

  it.each([
    ['malformed', { env: { HUBMIRROR_TOKEN: `${OPAQUE} ${OPAQUE}` } }],
    [
      'malformed in its file',
      { env: { HUBMIRROR_TOKEN_FILE: '/t' }, files: { '/t': `${OPAQUE}\n${OPAQUE}` } },
    ],
    ['under a mistyped variable', { env: { HUBMIRROR_TOKN: TOKEN } }],
    ['under a mistyped key', { yaml: `tokne: ${TOKEN}` }],
    ["where its file's name belongs", { env: { HUBMIRROR_TOKEN_FILE: TOKEN } }],
    ["where its file's name belongs, in Base64", { env: { HUBMIRROR_ADMIN_TOKEN_FILE: `${OPAQUE}/+/w==` } }],
    ['as a key', { yaml: `${TOKEN}: x` }],
    ['as the key of a token', { yaml: `tokens: {${TOKEN}: {file: /t}}` }],
    ['as the key of a rule', { yaml: `policies: [{${TOKEN}: x}]` }],
    ['quoted by the reader of YAML', { yaml: `token: |${TOKEN}\n x` }],
    ['quoted by it as a tag', { yaml: `!${TOKEN}!x y` }],
    ['in a URL', { env: { HUBMIRROR_ORIGIN: `https://user:${TOKEN}@host` } }],
    ['in a password with a slash', { env: { HUBMIRROR_ORIGIN: `https://user:a/${TOKEN}@host` } }],
    ['in a query', { env: { HUBMIRROR_ORIGIN: `https://host/?token=${TOKEN}` } }],
    ['in the wrong setting', { env: { HUBMIRROR_PORT: TOKEN } }],
  ])('are not shown by a fault when %s', (_, sources) => {
    expect(faultsOf(sources).message).not.toContain('ThisMustNeverBeShown')
  })

  it.each([
    '/run/secrets/hub-token-of-the-mirror',
    '../hub-token-of-the-mirror',
    '~/hub-token-of-the-mirror',
  ])('name the file that cannot be read: %s', (path) => {
    expect(faultsOf({ env: { HUBMIRROR_TOKEN_FILE: path } }).message).toContain(path)
  })

  it.each([
    ['missing', {}, 'ENOENT'],
    ['empty', { '/t': '\n' }, 'empty'],
  ])('refuse a file that is %s', (_, files, cure) => {
    const { faults } = faultsOf({ env: { HUBMIRROR_TOKEN_FILE: '/t' }, files })
    expect(faults).toMatchObject([{ key: 'tokenFile', value: '/t', cure: expect.stringContaining(cure) }])
  })

  it.each(['HUBMIRROR_TOKEN_FILE', 'HUBMIRROR_CONFIG'])('do not come from an endless %s', (name) => {
    const read = () => loadConfig({ flags: {}, env: { HOME: '/home/u', [name]: '/dev/zero' } })
    expect(read).toThrow(/EFBIG/)
  })

  describe('in a real file', () => {
    const root = mkdtempSync(join(tmpdir(), 'hubmirror-secret-'))
    afterEach(() => {
      vi.restoreAllMocks()
      rmSync(root, { recursive: true, force: true })
    })

    it('change with it, without a restart', () => {
      const path = join(root, 'token')
      writeFileSync(path, 'first\n')
      let nowMs = 0
      vi.spyOn(performance, 'now').mockImplementation(() => nowMs)
      const { config } = loadConfig({ env: { HUBMIRROR_TOKEN_FILE: path } })
      // Kubernetes replaces the old file by a new one.
      writeFileSync(`${path}.new`, 'second\n')
      renameSync(`${path}.new`, path)
      expect(config.token?.reveal()).toBe('first')
      nowMs = 1000
      expect(config.token?.reveal()).toBe('second')
      rmSync(path)
      nowMs = 2000
      expect(config.token?.reveal()).toBe('second')
      // Reading it would block until a writer opens it.
      execFileSync('mkfifo', [path])
      nowMs = 3000
      expect(config.token?.reveal()).toBe('second')
    })
  })
})
