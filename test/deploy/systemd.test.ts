// The unit for systemd, without systemd: its commands are run as systemd runs them, with the environment that the unit sets.
// deploy/check.sh lets `systemd-analyze` verify the file itself.

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { startChild } from '../support/process.ts'
import { ROOT } from '../support/run-cli.ts'

const exec = promisify(execFile)
const UNIT = await readFile(join(ROOT, 'deploy/systemd/hubmirror.service'), 'utf8')
/** Where the unit expects the package. */
const INSTALLED = '/opt/hubmirror/'

/** The value of a setting that the unit has once. */
function setting(name: string): string {
  const values = [...UNIT.matchAll(/^([^#=\n]+)=(.*)$/gm)].filter(([, key]) => key === name)
  expect(values.length, name).toBe(1)
  return values[0]?.[2] ?? ''
}

const FOLDERS = (/^Environment=PATH=(.*)$/m.exec(UNIT)?.[1] ?? '').split(':')

/** The words of `ExecStart=`, with the package of this checkout. */
function startCommand(): string[] {
  const line = setting('ExecStart')
  expect(line).toContain(INSTALLED)
  return line.replace(INSTALLED, ROOT.endsWith('/') ? ROOT : `${ROOT}/`).split(' ')
}

async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-systemd-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

describe('the unit for systemd', () => {
  it.each(FOLDERS)('finds node in %s', async (place) => {
    const root = await scratch()
    await mkdir(join(root, place), { recursive: true })
    await symlink(process.execPath, join(root, place, 'node'))
    const path = FOLDERS.map((folder) => join(root, folder)).join(':')
    const [command = '', ...words] = startCommand()
    expect(words.at(-1)).toBe('serve')
    const { stdout } = await exec(command, [...words.slice(0, -1), 'version'], { env: { PATH: path } })
    const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string }
    expect(stdout).toBe(`${version}\n`)
  })

  it('looks for node in the folders that docs/deploy.md names, in the same order', async () => {
    const page = await readFile(join(ROOT, 'docs/deploy.md'), 'utf8')
    const sentence = /The unit finds `node` in ([^,]+(?:, [^,]+)*), in this order/.exec(page)?.[1] ?? ''
    expect([...sentence.matchAll(/`([^`]+)`/g)].map(([, folder]) => folder)).toEqual(FOLDERS)
  })

  it('makes the mirror read its settings again by `systemctl reload`, and leaves it running', async () => {
    const folder = await scratch()
    const hub = await startHub({ world: new World() })
    onTestFinished(() => hub.close())
    const config = join(folder, 'hubmirror.yaml')
    await writeFile(config, 'refTtl: 1m\n')
    const mirror = await startChild({
      hub,
      cacheDir: join(folder, 'cache'),
      command: startCommand(),
      env: { HUBMIRROR_CONFIG: config },
    })
    onTestFinished(() => mirror.stop())
    await writeFile(config, 'refTtl: 2m\n')
    // systemd sets MAINPID to the process that it has started, which env has become.
    const words = setting('ExecReload').replace('$MAINPID', String(mirror.pid)).split(' ')
    await exec(words[0] ?? '', words.slice(1))
    const [entry] = await eventually(
      () => mirror.entries().filter(({ msg }) => String(msg).includes('were read again')),
      ({ length }) => length > 0,
    )
    expect(entry?.['changed']).toEqual(['refTtl'])
    mirror.kill('SIGTERM')
    expect(await mirror.ended).toBe(0)
  })
})
