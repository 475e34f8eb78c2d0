// Weights of models that are made by code: tensors with random values, always the same for a seed, as a safetensors file.

interface Tensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly values: Float32Array
}

/** Collects tensors by name and shape. */
export class Weights {
  readonly #tensors: Tensor[] = []
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** A tensor of random values, or of `value` everywhere. */
  add(name: string, shape: readonly number[], value?: number): void {
    const size = shape.reduce((product, side) => product * side, 1)
    const values = Float32Array.from({ length: size }, () => value ?? this.#draw())
    this.#tensors.push({ name, shape, values })
  }

  /** Random weights and a bias of zeros. The first side of `shape` is the number of outputs. */
  layer(name: string, shape: readonly [number, ...number[]]): void {
    this.add(`${name}.weight`, shape)
    this.add(`${name}.bias`, [shape[0]], 0)
  }

  /** A norm of `size` channels that changes nothing. */
  norm(name: string, size: number): void {
    this.add(`${name}.weight`, [size], 1)
    this.add(`${name}.bias`, [size], 0)
  }

  // Eight bytes of header length, the header as JSON padded with spaces to eight, then the tensors back to back.
  toFile(): Buffer {
    const header: Record<string, unknown> = { __metadata__: { format: 'pt' } }
    const parts: Buffer[] = []
    let offset = 0
    for (const { name, shape, values } of this.#tensors) {
      const bytes = Buffer.alloc(values.length * 4)
      for (const [index, value] of values.entries()) bytes.writeFloatLE(value, index * 4)
      header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + bytes.length] }
      offset += bytes.length
      parts.push(bytes)
    }
    const text = JSON.stringify(header)
    const head = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8, ' '))
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(head.length))
    return Buffer.concat([length, head, ...parts])
  }

  #draw(): number {
    this.#state ^= this.#state << 13
    this.#state ^= this.#state >>> 17
    this.#state ^= this.#state << 5
    return ((this.#state >>> 8) / 2 ** 24 - 0.5) / 10
  }
}
