// Plain HTTP clients that people put into scripts: curl, wget, aria2, and git-lfs.

import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { bytesOf } from '../hub-simulator/repos.ts'
import { type Finished, run } from './support/run.ts'
import { digestsOf, expectManners, type Scene, useSharedScene } from './support/scene.ts'
import { describeClient } from './support/tools.ts'
import { clientWorld, LARGE_BYTES, TOKENS } from './support/world.ts'

const HALF = 10_000_001

function largeUrl(scene: Scene): string {
  return `${scene.mirror.url}/acme/large/resolve/main/large.bin`
}

function largeDigest(scene: Scene): string {
  return digestsOf(scene.hub.world, 'acme/large')['large.bin'] ?? ''
}

/** A home in which the first part of the large file lies already, as a broken download leaves it. */
async function homeWithHalf(scene: Scene): Promise<string> {
  const home = await scene.newHome()
  const half = bytesOf(scene.hub.world.model('acme/large'), 'main', 'large.bin', 0, HALF)
  await writeFile(join(home, 'large.bin'), half)
  return home
}

async function digestOf(home: string, name: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(join(home, name)))
    .digest('hex')
}

function expectDone(finished: Finished): void {
  expect(finished.status, finished.stdout + finished.stderr).toBe(0)
}

describeClient('curl', ['curl'], () => {
  const scene = useSharedScene(clientWorld)

  it('finds everything a client needs in one HEAD, without a redirect and without Xet', async () => {
    const { hub, newHome } = scene()
    const done = await run('curl', ['-fsS', '--head', largeUrl(scene())], { home: await newHome() })
    expectDone(done)
    const head = done.stdout.toLowerCase()
    expect(head).toMatch(/^http\/1\.1 200/)
    const digest = largeDigest(scene())
    for (const line of [
      `content-length: ${LARGE_BYTES}`,
      `x-linked-size: ${LARGE_BYTES}`,
      `etag: "${digest}"`,
      `x-linked-etag: "${digest}"`,
      'accept-ranges: bytes',
    ]) {
      expect(head).toContain(`${line}\r\n`)
    }
    expect(head).toMatch(/^x-repo-commit: [0-9a-f]{40}\r$/m)
    expect(head).not.toMatch(/^(location|x-xet-.*|set-cookie):/m)
    expect(hub.ledger.bodyRequests()).toEqual([])
  })

  it('resumes a broken download, and fetches nothing again for a second one', async () => {
    const { hub } = scene()
    const resume = async () => {
      const home = await homeWithHalf(scene())
      expectDone(await run('curl', ['-fsS', '-C', '-', '-o', 'large.bin', largeUrl(scene())], { home }))
      expect(await digestOf(home, 'large.bin')).toBe(largeDigest(scene()))
    }
    await resume()
    const whole = await scene().newHome()
    expectDone(await run('curl', ['-fsS', '-o', 'large.bin', largeUrl(scene())], { home: whole }))
    expect(await digestOf(whole, 'large.bin')).toBe(largeDigest(scene()))
    hub.ledger.clear()
    await resume()
    expect(hub.ledger.bodyRequests()).toEqual([])
  })

  it('gets a private file with a token, 401 without, 404 with that of another user', async () => {
    const { hub, mirror, newHome } = scene()
    const home = await newHome()
    const status = async (token?: string) => {
      const header = token === undefined ? [] : ['-H', `Authorization: Bearer ${token}`]
      const url = `${mirror.url}/acme/secret/resolve/main/model.safetensors`
      const args = ['-sS', '-o', 'secret', '-w', '%{http_code}', ...header, url]
      return (await run('curl', args, { home })).stdout
    }
    expect(await status(TOKENS.alice)).toBe('200')
    expect(await digestOf(home, 'secret')).toBe(digestsOf(hub.world, 'acme/secret')['model.safetensors'])
    expect(await status()).toBe('401')
    expect(await status(TOKENS.bob)).toBe('404')
    expect(await status(TOKENS.invalid)).toBe('401')
    expectManners(hub)
  })
})

describeClient('wget', ['wget'], () => {
  const scene = useSharedScene(clientWorld)

  it('resumes a broken download', async () => {
    const home = await homeWithHalf(scene())
    expectDone(await run('wget', ['-q', '-c', '-O', 'large.bin', largeUrl(scene())], { home }))
    expect(await digestOf(home, 'large.bin')).toBe(largeDigest(scene()))
  })
})

describeClient('aria2', ['aria2c'], () => {
  const scene = useSharedScene(clientWorld)
  const parallel = ['--quiet', '-x8', '-s8', '-k1M', '--file-allocation=none']

  it('downloads over eight connections at once, and each byte comes from the origin once', async () => {
    const { hub, newHome } = scene()
    const home = await newHome()
    const checksum = `--checksum=sha-256=${largeDigest(scene())}`
    expectDone(await run('aria2c', [...parallel, checksum, '-o', 'large.bin', largeUrl(scene())], { home }))
    expect(await digestOf(home, 'large.bin')).toBe(largeDigest(scene()))
    // aria2 gives requests up when it splits; what the origin had put on the way to them by then is sent again.
    expect(hub.ledger.bytes()).toBeLessThan(LARGE_BYTES * 1.25)
  })

  it('reads a private file by parallel ranges, though it sends its header to every address that it is redirected to', async () => {
    const { hub, mirror, newHome } = scene()
    const home = await newHome()
    const header = `--header=Authorization: Bearer ${TOKENS.alice}`
    const url = `${mirror.url}/acme/secret/resolve/main/model.safetensors`
    expectDone(await run('aria2c', [...parallel, header, '-o', 'secret', url], { home }))
    expect(await digestOf(home, 'secret')).toBe(digestsOf(hub.world, 'acme/secret')['model.safetensors'])
    expectManners(hub)
  })
})

describeClient('git-lfs', ['git', 'git-lfs'], () => {
  const scene = useSharedScene(clientWorld)

  it('fetches the object behind a pointer', async () => {
    const { hub, mirror, newHome } = scene()
    const home = await newHome()
    const file = hub.world.model('acme/tiny').resolve('main')?.files.get('model.safetensors')
    const git = async (...args: string[]) => {
      expectDone(await run('git', args, { home, env: { GIT_CONFIG_NOSYSTEM: '1' } }))
    }
    await git('init', '-q')
    await git('config', 'user.name', 'somebody')
    await git('config', 'user.email', 'somebody@example.org')
    await git('lfs', 'install', '--local', '--skip-smudge')
    await writeFile(join(home, '.gitattributes'), '*.safetensors filter=lfs diff=lfs merge=lfs -text\n')
    await writeFile(join(home, 'model.safetensors'), file?.lfs?.pointer ?? '')
    await git('add', '.')
    await git('commit', '-q', '-m', 'pointer')
    await git('-c', `lfs.url=${mirror.url}/acme/tiny.git/info/lfs`, 'lfs', 'pull')
    expect(await digestOf(home, 'model.safetensors')).toBe(file?.lfs?.sha256)
  })
})
