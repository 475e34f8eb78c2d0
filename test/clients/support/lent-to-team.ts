import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TOKENS } from './world.ts'

/**
 * Writes a settings file by which mirror tokens named `team-…` are lent Alice's token for repos of acme. The caller removes
 * `scratch`, the folder in which it lies.
 */
export function lentToTeam(): { readonly scratch: string; readonly config: string } {
  const scratch = mkdtempSync(join(tmpdir(), 'hubmirror-tokens-'))
  const config = join(scratch, 'hubmirror.yaml')
  writeFileSync(join(scratch, 'team'), `${TOKENS.alice}\n`)
  writeFileSync(
    config,
    `tokens:
  team: {file: ${join(scratch, 'team')}}
policies:
  - {action: use-token, token: team, match: {repo: acme/*, caller: {mirrorToken: 'team-*'}}}
`,
  )
  return { scratch, config }
}
