// A list of mirror tokens that is very long.

import { writeFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { createMirrorToken } from '../../src/callers/mirror-token.ts'
import { mirrorTokensPath } from '../../src/callers/token-file.ts'
import { formatTokenList, tokenHash } from '../../src/callers/token-list.ts'
import { run } from '../support/run-cli.ts'
import { openScene } from '../support/scene.ts'

const OPEN = '/acme/open/resolve/main/config.json'

it('tokens are issued and revoked in a list of a hundred thousand, beside a mirror that recognises each of them', async () => {
  const scene = await openScene()
  const list = mirrorTokensPath(scene.mirror.config)
  const known = createMirrorToken()
  const others = Array.from({ length: 100_000 }, (_, index) => ({
    name: `job-${index}`,
    sha256: tokenHash(index === 77_777 ? known : `${index}`),
    createdAt: 1_000,
  }))
  await writeFile(list, formatTokenList(others), { mode: 0o600 })
  const env = { HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir }
  expect((await scene.ask(OPEN, { token: known })).status).toBe(200)
  const created = (await run(['token', 'create', 'ci'], env)).stdout.trim()
  expect((await scene.ask(OPEN, { token: created })).status).toBe(200)
  expect((await run(['token', 'revoke', 'job-77777'], env)).status).toBe(0)
  scene.clock.advance(1_000)
  expect((await scene.ask(OPEN, { token: known })).status).toBe(401)
  expect((await scene.ask(OPEN, { token: created })).status).toBe(200)
})
