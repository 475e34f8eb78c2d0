// Where a thread puts the bytes of a body. What a sink does with them is not known in this room: the thread loads the code
// of it by its address, and calls `write` on its own time.

/** Describes a sink to a thread. */
export interface Sink {
  /** The URL of a module that exports `openSink` (see SinkModule). */
  readonly module: string
  /** What `openSink` is given. It must be possible to clone it. */
  readonly data: unknown
}

export interface SinkModule {
  readonly openSink: (this: void, data: unknown) => OpenSink
}

export interface OpenSink {
  /**
   * Takes bytes that belong at `position`, which may be overwritten afterwards. Returns when that is done. Returns how many
   * were taken: fewer mean that it wants no more. Throws when it cannot take them.
   */
  write(bytes: Uint8Array, position: number): number
}

/** Which bytes of a body go where. */
export interface SinkTarget {
  readonly sink: Sink
  /** The position of the first byte that is written. */
  readonly position: number
  /** Bytes at the beginning of the body that are not written. */
  readonly skipBytes: number
  /** Bytes after them that are written. What follows is not wanted. */
  readonly wantedBytes: number
}

/** The sink could not take the bytes. `cause` says why. The origin has no part in it. */
export class SinkFailed extends Error {
  constructor(cause: Error) {
    super('the bytes could not be written', { cause })
    this.name = 'SinkFailed'
  }
}
