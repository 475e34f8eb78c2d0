// The package as others install it: packed in a fresh clone, installed elsewhere by a user without rights, started; and
// what an old Node prints.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmod,
  chown,
  lchown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { arch, platform, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { probe } from '../hub-simulator/probe.ts'
import { eventually } from '../support/eventually.ts'
import { ROOT } from '../support/run-cli.ts'

const exec = promisify(execFile)
/** The id of Debian's unprivileged user. */
const NOBODY = 65534
const isRoot = process.getuid?.() === 0
/** Who installs and runs the package: an ordinary user in any case. */
const user = isRoot ? { uid: NOBODY, gid: NOBODY } : {}

let folder: string
let clone: string
let tarball: string

async function giveTo(directory: string): Promise<void> {
  if (!isRoot) return
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }))
    await lchown(join(entry.parentPath, entry.name), NOBODY, NOBODY)
  await chown(directory, NOBODY, NOBODY)
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hubmirror-package-'))
  await chmod(folder, 0o755)
  clone = join(folder, 'clone')
  await mkdir(clone)
  // What git knows, as it lies here: a change is tried before it is committed.
  const { stdout } = await exec('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
  })
  await writeFile(join(folder, 'names'), stdout)
  await exec('rsync', [
    '-a',
    '--from0',
    `--files-from=${join(folder, 'names')}`,
    `${ROOT}/`,
    `${clone}/`,
  ]).catch(() =>
    exec('sh', ['-c', `tar --null -T "$0" -cf - | tar -xf - -C "$1"`, join(folder, 'names'), clone], {
      cwd: ROOT,
    }),
  )
  await symlink(join(ROOT, 'node_modules'), join(clone, 'node_modules'))
  const packed = await exec('npm', ['pack', '--json', '--pack-destination', folder], { cwd: clone })
  const [{ filename } = { filename: '' }] = JSON.parse(packed.stdout.slice(packed.stdout.indexOf('['))) as {
    filename: string
  }[]
  tarball = join(folder, filename)
})

afterAll(() => rm(folder, { recursive: true, force: true }))

it('holds the built program, and no tests', async () => {
  const { stdout } = await exec('tar', ['-tzf', tarball])
  const names = stdout.trimEnd().split('\n')
  for (const name of [
    'dist/launch.cjs',
    'dist/cli.js',
    'package.json',
    'LICENSE',
    'README.md',
    'docs/deploy.md',
  ])
    expect(names).toContain(`package/${name}`)
  expect(names.filter((name) => /^package\/(?:test|src|node_modules|nginx-compare)\//.test(name))).toEqual([])
})

it('can be installed by an ordinary user with no other warning than that about scripts, and serves', async () => {
  const home = join(folder, 'home')
  await mkdir(home)
  await writeFile(join(home, 'package.json'), '{"name":"consumer","private":true}')
  await giveTo(home)
  const npmrc = await readFile(join(process.env['HOME'] ?? '/nonexistent', '.npmrc'), 'utf8').catch(() => '')
  await writeFile(join(home, '.npmrc'), npmrc)
  await giveTo(home)
  const env = { ...process.env, HOME: home, npm_config_cache: join(home, '.npm') }
  const installed = await exec('npm', ['install', '--no-audit', '--no-fund', tarball], {
    cwd: home,
    env,
    ...user,
  })
  // npm names packages whose install scripts it has not run. LMDB comes compiled, and needs none.
  const known = /^npm warn install-scripts(?: {3}(?:lmdb|msgpackr-extract)@.*| 2 packages .*| Run .*|)$/gm
  expect(`${installed.stdout}${installed.stderr}`.replace(known, '')).not.toMatch(/warn|EBADENGINE/i)

  const bin = join(home, 'node_modules/.bin/hubmirror')
  const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  expect((await exec(bin, ['version'], { cwd: home, ...user })).stdout).toBe(`${version}\n`)

  const server = spawn(bin, ['serve', '--port', '0', '--cache-dir', join(home, 'cache')], {
    cwd: home,
    env: { PATH: process.env['PATH'], HOME: home },
    stdio: ['ignore', 'pipe', 'inherit'],
    ...user,
  })
  const ended = once(server, 'exit')
  onTestFinished(async () => {
    server.kill('SIGKILL')
    await ended
  })
  let log = ''
  server.stdout.on('data', (chunk: Buffer) => {
    log += chunk.toString()
  })
  const port = await eventually(
    () => /"port":(\d+)/.exec(log)?.[1],
    (value) => value !== undefined,
    60_000,
  )
  expect((await probe(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
  server.kill('SIGINT')
  expect(await ended).toEqual([0, null])
})

/** Node as a package of the registry, of a version. Only for the machines of which there are such packages. */
async function fetchNode(version: string): Promise<string> {
  const target = join(folder, `node-${version}`)
  await mkdir(target)
  await exec('npm', [
    'pack',
    '--silent',
    `node-${platform()}-${arch()}@${version}`,
    '--pack-destination',
    target,
  ])
  const [archive = ''] = await readdir(target)
  await exec('tar', ['-xzf', join(target, archive), '-C', target])
  return join(target, 'package/bin/node')
}

describe.skipIf(platform() !== 'linux' || arch() !== 'x64')('an old Node', () => {
  it.each(['12.22.12', '14.21.3', '16.20.2', '18.20.8'])(
    '%s gets a sentence with the cure, and status 2',
    async (version) => {
      const node = await fetchNode(version)
      const run = exec(node, [join(clone, 'dist/launch.cjs'), 'serve'])
      await expect(run).rejects.toMatchObject({
        code: 2,
        stdout: '',
        stderr: expect.stringMatching(
          new RegExp(
            `^hubmirror needs Node 20\\.19 or later, and this is Node ${version}\\. Install a newer version .*\\n$`,
          ),
        ) as unknown,
      })
    },
  )
})
