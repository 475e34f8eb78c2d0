// The setup of these suites makes Python environments by uv, which has to ask the package index that pip would ask.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { run } from './support/run.ts'
import { describeClient } from './support/tools.ts'

const SCRIPT = fileURLToPath(new URL('../support/pip-settings.py', import.meta.url))

describeClient('the settings of uv', ['python3'], () => {
  it('are those of pip, whose variables precede its file, and leave what is set for uv itself', async () => {
    const home = await mkdtemp(join(tmpdir(), 'hubmirror-pip-'))
    onTestFinished(() => rm(home, { recursive: true, force: true }))
    const file = join(home, 'pip.conf')
    await writeFile(
      file,
      `[global]
index-url = https://file.example/simple
find-links =
    /one
    /two
timeout = 7
[install]
trusted-host = a.example b.example
`,
    )
    const env = {
      PIP_CONFIG_FILE: file,
      PIP_INDEX_URL: "https://user:it's@env.example/simple",
      UV_HTTP_TIMEOUT: '9',
    }
    const { status, stdout, stderr } = await run('python3', [SCRIPT], { home, env })
    expect([status, stderr]).toEqual([0, ''])
    const print = `${stdout}printf '%s\\n' "$UV_DEFAULT_INDEX" "$UV_FIND_LINKS" "$UV_INSECURE_HOST" "$UV_HTTP_TIMEOUT"`
    const shell = await run('sh', ['-c', print], { home, env })
    expect(shell.stdout.split('\n')).toEqual([env.PIP_INDEX_URL, '/one,/two', 'a.example b.example', '9', ''])
  })
})
