import { expect, it } from 'vitest'
import { run } from '../support/run-cli.ts'
import { describeCompletion } from '../support/shell-completion.ts'

// test/long/further/shell-completion.test.ts has more lines.
await describeCompletion([
  ['hubmirror token ', ['create', 'ls', 'revoke']],
  ['hubmirror ls --cache-d', ['--cache-dir']],
  ['hubmirror serve --writes ', ['deny', 'forward']],
])

it('completion for another shell is refused with the list of known shells', async () => {
  const { status, stderr } = await run(['completion', 'tcsh'])
  expect(status).toBe(2)
  expect(stderr).toContain('Allowed choices are bash, zsh, fish')
})
