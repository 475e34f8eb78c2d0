// Runs each operation of the store with the k-th call to the file system failing, for every k until none fails. What is
// found afterwards is right or absent, tmp/ is empty, and no descriptor stays open. Replaces node:fs/promises: the file of
// tests that imports this must not import anything else that uses it, and must be isolated from others.

import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { writeAtomic } from '../../src/store/atomic.ts'
import { Verifier } from '../../src/store/digest.ts'
import type { DiskStore } from '../../src/store/disk-store.ts'
import { createLayout } from '../../src/store/layout.ts'
import { BLOCK_BYTES } from '../../src/store/partials/blocks.ts'
import { DiskPartial } from '../../src/store/partials/partial.ts'
import { partialName } from '../../src/store/partials/partial-name.ts'
import { open, patternBytes, sha256Key } from '../unit/store/scratch.ts'

type Call = (...args: unknown[]) => unknown

const trouble = vi.hoisted(() => {
  const state = { armed: false, calls: 0, failAt: 0, code: 'EIO', after: false }
  /** Runs `call`, or fails in its place, or fails after it has done its work. */
  const through = async (name: string, call: () => unknown): Promise<unknown> => {
    if (!state.armed) return call()
    state.calls += 1
    if (state.calls !== state.failAt) return call()
    const error = Object.assign(new Error(`${state.code}: injected, ${name}`), { code: state.code })
    // A close that fails has closed all the same; an open that fails has opened nothing.
    if (name === 'close' || (state.after && !name.startsWith('open'))) await call()
    throw error
  }
  return { state, through }
})

vi.mock('node:fs/promises', async (original) => {
  const real = await original<Record<string, unknown>>()
  const watched = new WeakMap<object, object>()
  const watch = (handle: object): object => {
    const known = watched.get(handle)
    if (known !== undefined) return known
    const proxy = new Proxy(handle, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) =>
          trouble.through(String(name), () => Reflect.apply(value as Call, target, args))
      },
    })
    watched.set(handle, proxy)
    return proxy
  }
  const faulty: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(real)) {
    faulty[name] =
      typeof value !== 'function'
        ? value
        : async (...args: unknown[]) => {
            const result = await trouble.through(name, () => Reflect.apply(value as Call, undefined, args))
            return name === 'open' ? watch(result as object) : result
          }
  }
  return { ...faulty, default: faulty }
})

const SIZE = 2 * BLOCK_BYTES + 10
const BYTES = patternBytes(SIZE)
const KEY = sha256Key(BYTES)

type Code = 'EIO' | 'ENOSPC' | 'EMFILE' | 'EACCES'
type Way = { readonly code: Code; readonly after: boolean }

let root = ''

/** The files below `directory` that this process has open. */
async function openBelow(directory: string): Promise<string[]> {
  const targets = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return targets.filter((target) => target.startsWith(directory))
}

/**
 * Runs `scenario` in a directory of its own for each k, its k-th call failing, until it ends without a failure;
 * `check` gets the error. Returns how many calls it makes.
 */
async function failEach(
  way: Way,
  scenario: (directory: string, arm: () => void) => Promise<void>,
  check: (directory: string, error: unknown) => Promise<void>,
): Promise<number> {
  const { state } = trouble
  for (let failAt = 1; failAt < 500; failAt += 1) {
    const directory = path.join(root, `${failAt}`)
    await mkdir(directory, { mode: 0o700 })
    Object.assign(state, { ...way, calls: 0, failAt, armed: false })
    const error: unknown = await scenario(directory, () => (state.armed = true)).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    state.armed = false
    await check(directory, error)
    expect(await openBelow(directory), `descriptors after call ${failAt}`).toEqual([])
    await rm(directory, { recursive: true })
    if (state.calls < failAt) {
      expect(error).toBeUndefined()
      return state.calls
    }
  }
  throw new Error('the scenario never ends without a failure')
}

/** Declares the tests of calls that fail with one of the codes, before or after their work. */
export function describeTrouble(codes: readonly Code[]): void {
  beforeEach(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'hubmirror-trouble-'))
  })

  afterEach(async () => {
    trouble.state.armed = false
    await rm(root, { recursive: true, force: true })
  })

  const ways = codes.flatMap((code): Way[] => [
    { code, after: false },
    { code, after: true },
  ])
  describe.each(ways)('when a call fails with $code (after its work: $after)', declareTests)
}

function declareTests(way: Way): void {
  it('a file holds the old content or the new', async () => {
    const calls = await failEach(
      way,
      async (directory, arm) => {
        await mkdir(path.join(directory, 'tmp'))
        const target = path.join(directory, 'sub', 'file')
        await writeAtomic(path.join(directory, 'tmp'), target, 'old', { durable: true })
        arm()
        await writeAtomic(path.join(directory, 'tmp'), target, 'the new', { durable: true })
      },
      async (directory, error) => {
        const content = await readFile(path.join(directory, 'sub', 'file'), 'utf8')
        if (error === undefined) expect(content).toBe('the new')
        else expect(['old', 'the new']).toContain(content)
        expect(await readdir(path.join(directory, 'tmp'))).toEqual([])
      },
    )
    expect(calls).toBeGreaterThanOrEqual(8)
  })

  it('a blob is stored whole or not at all, and what a partial vouches for is right', async () => {
    const calls = await failEach(
      way,
      async (directory, arm) => {
        const layout = createLayout(directory)
        await mkdir(layout.tmp)
        arm()
        const partial = await DiskPartial.open(layout, KEY, SIZE)
        try {
          await partial.write(0, [BYTES.subarray(0, BLOCK_BYTES)])
          await partial.checkpoint()
          await partial.write(BLOCK_BYTES, [BYTES.subarray(BLOCK_BYTES)])
          await partial.commit()
        } finally {
          await partial.release()
        }
      },
      async (directory, error) => {
        const layout = createLayout(directory)
        const store = await reopen(directory)
        const blob = await store.blobs.open(KEY, SIZE)
        if (error === undefined) expect(blob).toBeDefined()
        if (blob !== undefined) {
          expect(await isRight(blob)).toBe(true)
          await blob.close()
        } else {
          const partial = await DiskPartial.open(layout, KEY, SIZE)
          for (let position = 0; position < SIZE; ) {
            const end = partial.availableEnd(position)
            const buffer = Buffer.alloc(end - position)
            await partial.read(buffer, 0, buffer.length, position)
            expect(buffer.equals(BYTES.subarray(position, end))).toBe(true)
            position = end === position ? position + BLOCK_BYTES : end
          }
          await partial.release()
        }
        await store.close()
      },
    )
    expect(calls).toBeGreaterThanOrEqual(20)
  })

  it('a discarded partial is not resumed', async () => {
    await failEach(
      way,
      async (directory, arm) => {
        const layout = createLayout(directory)
        await mkdir(layout.tmp)
        const partial = await DiskPartial.open(layout, KEY, SIZE)
        try {
          await partial.write(0, [Buffer.alloc(SIZE, 'wrong')])
          arm()
          await partial.discard(new Error('wrong digest'), { quarantine: true })
        } finally {
          await partial.release()
        }
      },
      async (directory) => {
        const partial = await DiskPartial.open(createLayout(directory), KEY, SIZE)
        expect(partial.map.presentBytes).toBe(0)
        await partial.release()
      },
    )
  })

  it('space is reserved or not, and the ledger names what lies on the disk', async () => {
    await failEach(
      way,
      async (directory, arm) => {
        const store = await reopen(directory, SIZE)
        try {
          await store.scanned
          await pull(store)
          const half = await store.beginPartial(sha256Key(Buffer.from('x')), SIZE)
          await half.release()
          arm()
          const promise = await store.ledger.reserve(10)
          trouble.state.armed = false
          expect(store.ledger.storedBytes + store.ledger.reservedBytes).toBeLessThanOrEqual(SIZE)
          const blob = await store.blobs.open(KEY, SIZE)
          if (promise !== undefined) expect(blob).toBeUndefined()
          else if (blob !== undefined) expect(store.ledger.storedBytes).toBe(SIZE)
          await blob?.close()
          expect([...store.ledger.entries()].filter(([name]) => name === partialName(KEY))).toEqual([])
        } finally {
          await store.close()
        }
      },
      async (_, error) => {
        // Making room never fails a request: it passes through.
        expect(error).toBeUndefined()
      },
    )
  })

  it('a store opens or says why not, and opens the next time', async () => {
    const calls = await failEach(
      way,
      async (directory, arm) => {
        arm()
        const store = await open(directory)
        trouble.state.armed = false
        await store.close()
      },
      async (directory, error) => {
        if (error !== undefined) {
          expect((error as Error).message).toMatch(/ cannot be used as HUBMIRROR_CACHE_DIR: .*\. \w.*\.$/)
          expect((error as Error).message).toContain(`${directory} cannot`)
          expect((error as Error).message).toContain(way.code)
        }
        await (await open(directory)).close()
      },
    )
    expect(calls).toBeGreaterThanOrEqual(20)
  })
}

async function reopen(directory: string, maxBytes?: number): Promise<DiskStore> {
  const layout = createLayout(directory)
  // The scenarios above do not open a store first.
  await writeFile(layout.format, 'hubmirror 2\n')
  return open(directory, { maxBytes })
}

async function pull(store: DiskStore): Promise<void> {
  const partial = await store.beginPartial(KEY, SIZE)
  await partial.write(0, [BYTES])
  await partial.commit()
  await partial.release()
}

async function isRight(blob: { read: DiskPartial['read'] }): Promise<boolean> {
  const buffer = Buffer.alloc(SIZE)
  await blob.read(buffer, 0, SIZE, 0)
  const verifier = new Verifier(KEY, SIZE)
  verifier.update(buffer)
  return verifier.matches()
}
