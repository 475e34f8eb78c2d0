import { createHash } from 'node:crypto'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HashThread } from '../../../src/store/partials/hash-thread.ts'

describe('the thread that hashes growing files', () => {
  const bytes = Buffer.alloc(9_000_000, 'growing bytes ')
  const key = `sha256:${createHash('sha256').update(bytes).digest('hex')}` as const
  let directory: string
  let thread: HashThread

  beforeEach(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'hash-thread-'))
    thread = new HashThread()
  })
  afterEach(async () => {
    await thread.close()
    await rm(directory, { recursive: true })
  })

  async function file(content: Buffer): Promise<string> {
    const name = path.join(directory, 'data')
    await writeFile(name, content)
    return name
  }

  it('says that the digest matches once all bytes have landed and are right', async () => {
    const digest = thread.open(await file(bytes), key, bytes.length)
    digest.advance(1)
    digest.advance(5_000_000)
    digest.advance(bytes.length)
    expect(await digest.matches).toBe(true)
    digest.close()
  })

  it('says that the digest does not match when one byte is wrong', async () => {
    const wrong = Buffer.from(bytes)
    wrong[4_500_000] = 0
    const digest = thread.open(await file(wrong), key, bytes.length)
    digest.advance(bytes.length)
    expect(await digest.matches).toBe(false)
  })

  it('hashes on when the file is renamed meanwhile', async () => {
    const name = await file(bytes)
    const digest = thread.open(name, key, bytes.length)
    const first = thread.open(name, key, bytes.length)
    first.advance(bytes.length)
    // Both files are open once the second answers, because messages are received in order.
    await first.matches
    await rename(name, `${name}-finished`)
    digest.advance(bytes.length)
    expect(await digest.matches).toBe(true)
  })

  it('fails for a file that is shorter than announced, and goes on with others', async () => {
    const short = thread.open(await file(bytes.subarray(0, 100)), key, bytes.length)
    short.advance(bytes.length)
    await expect(short.matches).rejects.toThrow('shorter')
    const digest = thread.open(await file(bytes), key, bytes.length)
    digest.advance(bytes.length)
    expect(await digest.matches).toBe(true)
  })

  it('fails for a file that does not exist', async () => {
    await expect(thread.open(path.join(directory, 'none'), key, 1).matches).rejects.toThrow('ENOENT')
  })

  it('rejects the digests under way when it is closed', async () => {
    const digest = thread.open(await file(bytes), key, bytes.length)
    await thread.close()
    await expect(digest.matches).rejects.toThrow('closed')
  })
})
