// The file of a bundle, or its parts: FILE.001, FILE.002 and so on. A bundle gets its names when it is complete and on the
// disk; until then it lies beside them under other names, which the next run of the same command writes again.

import { fstatSync, fsync, writeFile } from 'node:fs'
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { atDisk } from '../../disk-errors.ts'
import { errorCode, ifThere } from '../../store/atomic.ts'
import { unlessAborted } from '../endless-calls.ts'

const UNFINISHED = '.unfinished'
/** `-` stands for stdout or stdin. */
const STANDARD = '-'
const MAX_PARTS = 999
const READ_BYTES = 1024 * 1024

/** The bundle cannot be written or found. The message says why. */
export class UnusableBundle extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UnusableBundle'
  }
}

/** Where the bytes of a new bundle go. It ends by `finish` or `abandon`. Both others reject with DiskFailure and UnusableBundle. */
export interface BundleSink {
  write(bytes: Buffer): Promise<void>
  /** Makes it durable and gives it its names. Resolves with these. */
  finish(): Promise<readonly string[]>
  /** Removes what was written. Never rejects. */
  abandon(): Promise<void>
}

/** Rejects with UnusableBundle if something has the name already, and with DiskFailure. */
export function openSink(file: string, splitBytes: number | undefined): Promise<BundleSink> {
  if (file === STANDARD) return Promise.resolve(new StandardSink())
  return writing(file, async () => {
    await removeHalfNamed(file)
    const present = (await ifThere(stat(file))) === undefined ? await partsOf(file) : [file]
    if (present.length > 0)
      throw new UnusableBundle(`${present[0]} exists already. Remove it, or choose another name.`)
    await removeUnfinished(file)
    return new FileSink(file, splitBytes)
  })
}

function writing<T>(file: string, work: () => Promise<T>): Promise<T> {
  return atDisk(`the bundle ${file} cannot be written`, work)
}

/**
 * Removes the parts of a run that was killed while it gave them their names: the last ones have theirs, and all before them, with
 * the first, have not.
 */
async function removeHalfNamed(file: string): Promise<void> {
  const names = new Set(await beside(file))
  const name = (number: number): string => path.basename(partName(file, number))
  let number = 1
  while (names.has(name(number) + UNFINISHED) && !names.has(name(number))) number += 1
  if (number === 1) return
  for (; names.has(name(number)); number += 1) await rm(partName(file, number), { force: true })
}

/** Removes what a killed run has left. */
async function removeUnfinished(file: string): Promise<void> {
  const start = path.basename(file)
  for (const name of await beside(file))
    if (name.startsWith(start) && /^(?:\.\d{3})?\.unfinished$/.test(name.slice(start.length)))
      await rm(path.join(path.dirname(file), name), { force: true })
}

/** The names in the folder of the file; none if there is no such folder. */
async function beside(file: string): Promise<readonly string[]> {
  return (await ifThere(readdir(path.dirname(file)))) ?? []
}

const STDOUT = 1

class StandardSink implements BundleSink {
  readonly #isStream = isStream(STDOUT)

  write(bytes: Buffer): Promise<void> {
    return writing('on stdout', () => (this.#isStream ? toStream(bytes) : toFile(bytes)))
  }

  async finish(): Promise<readonly string[]> {
    if (fstatSync(STDOUT).isFile()) await writing('on stdout', () => promisify(fsync)(STDOUT))
    return []
  }

  abandon(): Promise<void> {
    return Promise.resolve()
  }
}

function isStream(descriptor: number): boolean {
  const stats = fstatSync(descriptor)
  return stats.isFIFO() || stats.isSocket()
}

/** Rejects with UnusableBundle if the reader of the pipe has ended. */
function toStream(bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => {
      if (!error) resolve()
      else if (errorCode(error) !== 'EPIPE') reject(error)
      else reject(new UnusableBundle('The program that reads the bundle has ended before all was written.'))
    })
  })
}

/** process.stdout would not report a write that a full disk cuts short. */
function toFile(bytes: Buffer): Promise<void> {
  return promisify(writeFile)(STDOUT, bytes)
}

class FileSink implements BundleSink {
  readonly #file: string
  readonly #splitBytes: number | undefined
  /** The names that this run has given. */
  readonly #written = new Set<string>()
  #count = 0
  #handle: FileHandle | undefined
  #left = 0

  constructor(file: string, splitBytes: number | undefined) {
    this.#file = file
    this.#splitBytes = splitBytes
  }

  write(bytes: Buffer): Promise<void> {
    return writing(this.#file, () => this.#write(bytes))
  }

  async #write(bytes: Buffer): Promise<void> {
    for (let rest = bytes; rest.length > 0; ) {
      const handle = this.#left > 0 ? this.#handle : await this.#next()
      if (handle === undefined) throw new Error('the part is not open')
      const piece = rest.subarray(0, this.#left)
      await handle.writeFile(piece)
      this.#left -= piece.length
      rest = rest.subarray(piece.length)
    }
  }

  async #next(): Promise<FileHandle> {
    await this.#close()
    this.#count += 1
    if (this.#count > MAX_PARTS)
      throw new UnusableBundle(`The bundle would have more than ${MAX_PARTS} parts. Choose a larger --split.`)
    this.#left = this.#splitBytes ?? Number.POSITIVE_INFINITY
    const name = this.#name(this.#count) + UNFINISHED
    this.#handle = await open(name, 'wx', 0o600)
    this.#written.add(name)
    return this.#handle
  }

  #name(number: number): string {
    return this.#splitBytes === undefined ? this.#file : partName(this.#file, number)
  }

  async #close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    try {
      await handle?.sync()
    } finally {
      await handle?.close()
    }
  }

  finish(): Promise<readonly string[]> {
    return writing(this.#file, () => this.#finish())
  }

  async #finish(): Promise<readonly string[]> {
    await this.#close()
    const names = Array.from({ length: this.#count }, (_, index) => this.#name(index + 1))
    // The first part last: with it, all others are there.
    for (const name of names.toReversed()) {
      await rename(name + UNFINISHED, name)
      this.#written.add(name)
    }
    const folder = await open(path.dirname(this.#file))
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
    return names
  }

  async abandon(): Promise<void> {
    await this.#close().catch(() => undefined)
    for (const name of this.#written) await rm(name, { force: true }).catch(() => undefined)
  }
}

function partName(file: string, number: number): string {
  return `${file}.${String(number).padStart(3, '0')}`
}

/** The parts that are there, in their order. Rejects with UnusableBundle if one in the middle is missing. */
async function partsOf(file: string): Promise<readonly string[]> {
  const start = `${path.basename(file)}.`
  const numbers = (await beside(file))
    .filter((name) => name.startsWith(start) && /^\d{3}$/.test(name.slice(start.length)))
    .map((name) => Number(name.slice(start.length)))
    .sort((a, b) => a - b)
  for (const [index, number] of numbers.entries())
    if (number !== index + 1)
      throw new UnusableBundle(`${partName(file, index + 1)} is missing: the bundle needs all its parts.`)
  return numbers.map((number) => partName(file, number))
}

/** The bytes of a bundle. It rejects with DiskFailure, and with the reason of the signal, also while its medium gives no more bytes. */
type BundleSource = AsyncGenerator<Buffer, void, undefined>

/**
 * Settles as `work` does, which gets the bytes of a bundle: of a file, of all parts of which one is named, or of stdin. Rejects with
 * UnusableBundle and DiskFailure as well. If root runs this process, all parts are opened first: it may act as another user later, who may
 * not read them (act-as.ts).
 */
export async function withSource<T>(
  file: string,
  signal: AbortSignal,
  work: (source: BundleSource) => Promise<T>,
): Promise<T> {
  const ended = new AbortController()
  const either = AbortSignal.any([signal, ended.signal])
  const source =
    file === STANDARD ? readStandard(either) : await reading(file, either, () => openFiles(file, either))
  try {
    return await work(source)
  } finally {
    ended.abort()
    void source.return(undefined).catch(() => undefined)
  }
}

function reading<T>(file: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return atDisk(`the bundle ${file} cannot be read`, () => unlessAborted(signal, work))
}

async function openFiles(file: string, signal: AbortSignal): Promise<BundleSource> {
  const whole = file.replace(/\.\d{3}$/, '')
  const there = await ifThere(stat(file))
  const parts = there === undefined || whole !== file ? await partsOf(whole) : []
  const files = parts.length > 0 ? parts : there === undefined ? [] : [file]
  if (files.length === 0) throw new UnusableBundle(`There is no ${file}, and no ${partName(file, 1)}.`)
  if (there?.isDirectory() === true) throw new UnusableBundle(`${file} is a folder, and no bundle.`)
  const opened: FileHandle[] = []
  try {
    if (process.geteuid?.() === 0) for (const one of files) opened.push(await open(one))
  } catch (error) {
    closeAll(opened)
    throw error
  }
  return readAll(files, opened, signal)
}

/** Closes those that were opened. */
async function* readAll(
  files: readonly string[],
  opened: readonly FileHandle[],
  signal: AbortSignal,
): BundleSource {
  try {
    for (const [index, file] of files.entries()) {
      const handle = opened[index] ?? (await reading(file, signal, () => open(file)))
      yield* readOne(file, handle, signal)
    }
  } finally {
    closeAll(opened)
  }
}

async function* readOne(file: string, handle: FileHandle, signal: AbortSignal): BundleSource {
  try {
    for (;;) {
      const { bytesRead, buffer } = await reading(file, signal, () =>
        handle.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES),
      )
      if (bytesRead === 0) return
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    closeAll([handle])
  }
}

/** Closing a closed handle does nothing. It is not waited for: a handle closes when its last read has returned. */
function closeAll(handles: readonly FileHandle[]): void {
  for (const handle of handles) void handle.close().catch(() => undefined)
}

async function* readStandard(signal: AbortSignal): BundleSource {
  const chunks = process.stdin.iterator() as AsyncIterator<Buffer, void>
  try {
    for (;;) {
      const next = await reading('on stdin', signal, () => chunks.next())
      if (next.done === true) return
      yield next.value
    }
  } finally {
    process.stdin.destroy()
  }
}
