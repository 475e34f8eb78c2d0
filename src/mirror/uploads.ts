// Large files on their way from a client to the storage of the Hub. Their bytes must have the sha256 under which the Hub
// expects them, and those of a public repo are stored while they pass. An object comes in one request, or in parts that clients
// may send in order. Of parts that come in another order, or not all through this process, only the sizes are checked: the
// digest is left to the Hub, and nothing is stored.

import { contentBytes, type UploadContent } from '../hub/lfs-batch.ts'
import { type Repo, repoKey } from '../hub/names.ts'
import { MemoryCache } from '../memory.ts'
import { type BlobKey, Verifier } from '../store/digest.ts'
import { type PublicOptions, provePublic, proveSince } from './access/public.ts'
import type { Contents } from './content.ts'
import type { Ctx } from './context.ts'
import type { Downloads } from './downloads/downloads.ts'
import type { Receiver } from './downloads/receiver.ts'
import { within } from './turns.ts'

/** An object that a client uploads. */
export interface UploadedObject {
  readonly repo: Repo
  /** Its sha256 in hex. */
  readonly oid: string
  readonly sizeBytes: number
  /** False when a policy keeps the bytes off the disk. */
  readonly mayStore: boolean
}

/** The body of one request of an upload. */
export interface PassingBody {
  /** Resolves when the bytes can be stored, or it is clear that they are not; after seconds at most. They may pass before. */
  readonly ready: Promise<void>
  /** These bytes come next. They must not be changed afterwards. Returns at once. */
  update(bytes: Buffer): void
  /**
   * False when the object is complete and has another digest. To be called once, when all bytes of the request have come, and
   * before the last of them are passed on.
   */
  matches(): boolean
  /** The request is over. `isAccepted` says that storage has accepted its bytes. To be called once. */
  end(isAccepted: boolean): void
}

export interface UploadsOptions extends PublicOptions {
  readonly contents: Pick<Contents, 'isStored'>
  readonly downloads: Pick<Downloads, 'receive'>
  /** Whether bytes that are not public may be stored. Each caller's right is proved before they are served. */
  readonly cachePrivate: boolean
}

/** An object of which all bytes so far have come through this process, in order. */
interface Sequence {
  readonly verifier: Verifier
  /** The number of the part that must come next. */
  next: number
  /** A part is passing. */
  isBusy: boolean
  /** Nothing more is known of the object as a whole. */
  isBroken: boolean
  /** Stores the bytes. */
  receiver: Receiver | undefined
  ready: Promise<void>
  idle: NodeJS.Timeout | undefined
}

/** Uploads in parts that are under way. */
const SEQUENCES_BYTES = 1024 * 1024
/** The longest time between two parts. */
const IDLE_MS = 10 * 60_000
/** The longest time that an upload waits to learn whether its repo is public, which is seldom unknown. */
const READY_MS = 2_000

export class Uploads {
  readonly #options: UploadsOptions
  readonly #sequences = new MemoryCache<Sequence>({
    maxBytes: SEQUENCES_BYTES,
    sizeOf: () => 1_000,
    onRemove: end,
  })

  constructor(options: UploadsOptions) {
    this.#options = options
  }

  /** Follows a request that is about to pass. Undefined where only its size can be checked. */
  begin(ctx: Ctx, object: UploadedObject, content: UploadContent): PassingBody | undefined {
    const part = content === 'whole' ? WHOLE : content
    // Another Hub may give the same name to the uploads of two repos.
    const name = [repoKey(object.repo), object.oid, part.upload].join(' ')
    const isLast = part.number === part.count
    const sequence = part.number === 1 ? this.#start(ctx, object) : this.#sequences.get(name)
    if (sequence === undefined) return undefined
    if (part.number === 1 && !isLast) this.#keep(name, sequence)
    if (sequence.isBusy || sequence.isBroken || sequence.next !== part.number) {
      // Parts at the same time, or one of them again: their order is lost.
      end(sequence)
      this.#sequences.delete(name)
      return undefined
    }
    sequence.isBusy = true
    const { verifier } = sequence
    const endsAt = verifier.position + contentBytes(content, object.sizeBytes)
    let isRight = false
    return {
      ready: sequence.ready,
      update(bytes) {
        if (sequence.isBroken) return
        verifier.update(bytes)
        sequence.receiver?.write(bytes)
      },
      matches() {
        isRight = !sequence.isBroken && (!isLast || verifier.matches())
        return isRight || sequence.isBroken
      },
      end: (isAccepted) => {
        sequence.isBusy = false
        sequence.next += 1
        sequence.idle?.refresh()
        if (isAccepted && isRight && verifier.position === endsAt) {
          if (!isLast) return
          sequence.receiver?.finish()
          sequence.receiver = undefined
        }
        end(sequence)
        if (this.#sequences.peek(name) === sequence) this.#sequences.delete(name)
      },
    }
  }

  #start(ctx: Ctx, object: UploadedObject): Sequence {
    const verifier = new Verifier(keyOf(object), object.sizeBytes)
    const sequence: Sequence = {
      verifier,
      next: 1,
      isBusy: false,
      isBroken: false,
      receiver: undefined,
      ready: Promise.resolve(),
      idle: undefined,
    }
    const received = this.#receive({ ...ctx, forward: {} }, object)
      .then((receiver) => {
        // Too late: bytes have passed without it.
        if (sequence.isBroken || verifier.position > 0) receiver?.stop()
        else sequence.receiver = receiver
      })
      // Whatever it is, the upload goes on.
      .catch(() => undefined)
    sequence.ready = within(READY_MS, received)
    return sequence
  }

  /** Undefined when the bytes are not to be stored, or are stored already. Never rejects. */
  async #receive(ctx: Ctx, object: UploadedObject): Promise<Receiver | undefined> {
    const { contents, downloads, cachePrivate, monotonic } = this.#options
    const { repo, sizeBytes, mayStore } = object
    const key = keyOf(object)
    if (!mayStore || sizeBytes === 0) return undefined
    if (!cachePrivate && !(await provePublic(ctx, repo, this.#options))) return undefined
    if (await contents.isStored(key, sizeBytes)) return undefined
    // The repo may have turned private meanwhile, so the proof must be from after the upload.
    return downloads.receive(
      key,
      sizeBytes,
      async () => cachePrivate || proveSince(ctx, repo, monotonic(), this.#options),
    )
  }

  #keep(name: string, sequence: Sequence): void {
    sequence.idle = setTimeout(() => {
      if (sequence.isBusy) sequence.idle?.refresh()
      else if (this.#sequences.peek(name) === sequence) this.#sequences.delete(name)
    }, IDLE_MS)
    sequence.idle.unref()
    const before = this.#sequences.peek(name)
    if (before !== undefined) end(before)
    this.#sequences.set(name, sequence)
  }
}

const WHOLE = { upload: '', number: 1, count: 1 }

function keyOf({ oid }: UploadedObject): BlobKey {
  return `sha256:${oid}`
}

/** Nothing is concluded from the bytes any more, and they are not stored unless all have come. */
function end(sequence: Sequence): void {
  sequence.isBroken = true
  clearTimeout(sequence.idle)
  sequence.receiver?.stop()
  sequence.receiver = undefined
}
