import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { rows } from '../../src/config/keys.ts'
import { envName, flagName } from '../../src/config/setting-names.ts'
import { BIN, ROOT, run as runAnywhere } from '../support/run-cli.ts'
import { ENCRYPTED_KEY, SECOND_CERTIFICATE } from '../support/tls-certificates.ts'
import { tlsFiles } from '../support/tls-files.ts'

const scratch = mkdtempSync(join(tmpdir(), 'hubmirror-cli-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const run = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  runAnywhere(args, { HOME: scratch, ...env })

describe('the command', () => {
  it.each([[['--version']], [['-v']], [['-V']], [['version']]])('prints its version for %j', async (args) => {
    const { status, stdout } = await run(args)
    expect(status).toBe(0)
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\S*\n$/)
  })

  it('config --describe lists every setting with flag, variable and default', async () => {
    const { status, stdout, stderr } = await run(['config', '--describe'])
    expect([status, stderr]).toEqual([0, ''])
    const text = stdout.replace(/\n +/g, ' ')
    for (const row of rows()) {
      expect(text).toContain(`${flagName(row.key)} <${row.form}>, ${envName(row.key)}`)
      expect(text).toContain(`[${row.default ?? row.absent ?? ''}]`)
    }
    expect(text).toContain('HUBMIRROR_TOKEN_FILE')
    expect(text).toContain('HUBMIRROR_CONFIG')
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
  })

  it('says in one sentence that a module which is loaded only for a settings file is missing', async () => {
    const folder = join(scratch, 'incomplete')
    const modules = join(folder, 'node_modules')
    mkdirSync(modules, { recursive: true })
    for (const name of ['dist', 'package.json'])
      cpSync(join(ROOT, name), join(folder, name), { recursive: true })
    for (const name of readdirSync(join(ROOT, 'node_modules')))
      if (name !== 'yaml') symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
    const settings = join(folder, 'hubmirror.yaml')
    writeFileSync(settings, 'port: 8080\n')
    const child = spawn(process.execPath, [join(folder, 'dist/launch.cjs'), 'config'], {
      env: { PATH: process.env['PATH'], HOME: scratch, HUBMIRROR_CONFIG: settings },
    })
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    const [status] = (await once(child, 'close')) as [number | null]
    expect([status, said]).toEqual([
      1,
      "hubmirror: Cannot find module 'yaml'. Install hubmirror again: a file of it is missing.\n",
    ])
  })

  it('accepts settings that its help does not list', async () => {
    const { status, stderr } = await run(['ls', '--origin-timeout', '5s', '--cache-dir', scratch])
    expect([status, stderr]).toEqual([1, expect.stringContaining('is not a store of hubmirror')])
  })

  it.each([
    [['serv'], '(Did you mean serve?)'],
    [['serve', '--prot', '1'], '(Did you mean --port?)'],
    [['serve', '--port'], 'argument missing'],
    [['prefetch'], "missing required argument 'repo[@revision]'"],
    [[], 'Usage: hubmirror'],
  ])('exits 2 for %j, and says on stderr what would be right', async (args, message) => {
    const { status, stdout, stderr } = await run(args)
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
  })

  it('exits 2 before it serves with a wrong configuration, and names all faults', async () => {
    const { status, stdout, stderr } = await run(['serve', '--offline=maybe'], {
      HUBMIRROR_CACHE_MAX_SIZE: '200',
      HUBMIRROR_ORIGINS: 'https://huggingface.co',
    })
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toContain('hubmirror: 3 settings are wrong:')
    expect(stderr).toContain('did you mean HUBMIRROR_ORIGIN?')
    expect(stderr).toContain('cache.maxSize = "200" (environment HUBMIRROR_CACHE_MAX_SIZE)')
    expect(stderr).toContain('offline = "maybe" (flag --offline)')
    expect(stderr).not.toContain('at ')
  })

  it.each(['serve', 'config'])('%s exits 2 if the files of TLS cannot be used', async (command) => {
    const files = tlsFiles(SECOND_CERTIFICATE, ENCRYPTED_KEY)
    const env = { HUBMIRROR_TLS_CERT: files.cert, HUBMIRROR_TLS_KEY: files.key }
    const { status, stdout, stderr } = await run([command], env)
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toContain(
      `tls.key = "${files.key}" (environment HUBMIRROR_TLS_KEY)\n    this key is encrypted`,
    )
  })
})

describe('config', () => {
  it('prints every value and where it came from, secrets masked', async () => {
    const file = join(scratch, 'hubmirror.yaml')
    const tokenFile = join(scratch, 'token')
    writeFileSync(file, 'cache:\n  maxSize: 200GB\nwrites: deny\n')
    writeFileSync(tokenFile, 'hf_secretInAFile\n')
    const { status, stdout } = await run(['config', '--json', '--offline', '--config', file], {
      HUBMIRROR_WRITES: 'forward',
      HUBMIRROR_TOKEN_FILE: tokenFile,
      HUBMIRROR_ADMIN_TOKEN: 'secretInTheEnvironment',
    })
    expect(status).toBe(0)
    const values: unknown = JSON.parse(stdout)
    expect(Object.keys(values as object)).toEqual(rows().map((row) => row.key))
    expect(values).toMatchObject({
      'cache.maxSize': { value: '200GB', source: 'file', where: `${file}:2:12` },
      'cache.dir': { value: join(scratch, '.cache/hubmirror'), source: 'default' },
      writes: { value: 'forward', source: 'environment', where: 'HUBMIRROR_WRITES' },
      offline: { value: 'on', source: 'flag', where: '--offline' },
      token: { value: `••• (from ${tokenFile})`, where: 'HUBMIRROR_TOKEN_FILE' },
      adminToken: { value: '•••', where: 'HUBMIRROR_ADMIN_TOKEN' },
    })
    expect(stdout).not.toContain('secretIn')
  })

  it('prints one aligned line for each setting', async () => {
    const { stdout } = await run(['config', '--port', '9000'])
    const lines = stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(rows().length)
    expect(lines[1]).toMatch(/^port {2,}9000 {2,}flag --port$/)
    expect(new Set(lines.map((line) => line.search(/ (?:default|flag)/))).size).toBe(1)
  })

  it('ends without an error if its reader closes the pipe early', async () => {
    const child = spawn(process.execPath, [BIN, 'help'], {
      cwd: ROOT,
      env: { PATH: process.env['PATH'], HOME: scratch },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.destroy()
    let stderr = ''
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    const status = await new Promise((resolve) => child.on('close', resolve))
    expect([status, stderr]).toEqual([0, ''])
  })
})
