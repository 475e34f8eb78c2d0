// What commands say of a line that they cannot run. The first of each kind is in test/integration/, in the files of the commands.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { run as runAnywhere } from '../../support/run-cli.ts'

const scratch = mkdtempSync(join(tmpdir(), 'hubmirror-usage-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const run = (args: readonly string[]) => runAnywhere(args, { HOME: scratch, HUBMIRROR_CACHE_DIR: scratch })

it.each([
  [['config', 'explain', '--repo', 'a/b', '--url', '/a/b'], 'either --repo or --url'],
  [['config', 'explain', '--url', '/a/../b'], 'dot segment'],
  [['config', 'explain', '--repo', 'gpt2', '--name', 'gpt2'], 'Expected org/name'],
  [['config', 'explain', '--repo', 'a/b', '--name', 'a/c'], 'only with a short --repo'],
  [['config', 'explain', '--url', '/gpt2', '--name', 'a/c'], 'only with a short --repo'],
  [['config', 'explain', '--url', '/a/b', '--file', 'x'], 'only with --repo'],
  [['config', 'explain', '--url', '/a/b', '--revision', 'x'], 'only with --repo'],
  [
    ['config', 'explain', '--repo', 'a/b', '--own-token', '--mirror-token', 'ci'],
    'either --mirror-token or --own-token',
  ],
  [['config', 'explain', '--repo', 'a/b', '--licence', 'mit,'], 'apache-2.0,mit'],
  [['config', 'explain', '--repo', 'a/b', '--licence', ''], 'apache-2.0,mit'],
  [['prune', '--max-size', 'much'], 'expected a size with a unit'],
  [['ls', '--sort', 'colour'], 'Allowed choices are size, used, name'],
  [['ls', '--limit', '0'], 'expected a whole number from 1'],
  [['ls', 'a', 'b'], 'too many arguments'],
  [['verify', '--rate', '0MB'], 'expected at least 1000 bytes'],
  [['token', 'create', 'ci', '--expires', '0s'], 'at least'],
  [['token', 'create', 'ci', '--repo', 'acme/'], "such as 'acme/*'"],
  [['token', 'revoke'], 'missing required argument'],
  [['token', 'make', 'ci'], 'unknown command'],
  [['physician'], "unknown command 'physician'"],
  [['config', 'origin'], 'too many arguments'],
  [['prefetch', 'not a repo'], "A repo id is 'name' or 'org/name'"],
  [['prefetch', 'acme/open@'], 'names no revision after the @'],
  [['prefetch', '--type', 'dataset', 'model/acme/open'], 'is a model, and --type says dataset'],
])('the command exits 2 for %j, and says on stderr what would be right', async (args, message) => {
  const { status, stdout, stderr } = await run(args)
  expect([status, stdout]).toEqual([2, ''])
  expect(stderr).toContain(message)
})
