// The settings of a running mirror: those that may change are read through one object, at each use, and nowhere copied.
// It reads no file; whoever has read one anew hands it in.

import { type Config, isLive, type LiveName, rows } from './keys.ts'
import { POLICIES } from './policies.ts'
import { Secret } from './secret.ts'

/** The settings that can change while the mirror runs, as they are now. Kept as an object and read at each use. */
export type LiveSettings = Pick<Config, LiveName>

/** What a new Config says otherwise than the one before, by key. */
export interface Changes {
  /** Taken over. */
  readonly changed: readonly string[]
  /** They stay as they are until a restart. */
  readonly needRestart: readonly string[]
}

export class Live {
  readonly settings: LiveSettings
  #config: Config

  constructor(config: Config) {
    this.#config = config
    // By the table: an optional setting that is not given is no key of the config, and may become one.
    const names = [...rows().map(({ name }) => name), 'policies', 'hubTokens'].filter(isLive)
    const properties = names.map((name) => [name, { enumerable: true, get: () => this.#config[name] }])
    this.settings = Object.defineProperties({}, Object.fromEntries(properties)) as LiveSettings
  }

  /** Takes over from `next` what may change. A second call with the same tells again what needs a restart. */
  change(next: Config): Changes {
    const before = this.#config
    const differs = rows().filter(({ name }) => textOf(before[name]) !== textOf(next[name]))
    const isChanged = (name: 'policies' | 'hubTokens') => textOf(before[name]) !== textOf(next[name])
    const changed = differs.filter(({ name }) => isLive(name)).map(({ key }) => key)
    if (isChanged('policies')) changed.push(POLICIES)
    if (isChanged('hubTokens')) changed.push('tokens')
    const needRestart = differs.filter(({ name }) => !isLive(name)).map(({ key }) => key)
    const kept = Object.entries(before).filter(([name]) => !isLive(name))
    const taken = Object.entries(next).filter(([name]) => isLive(name))
    // Both are Configs, and together they have every key of one.
    this.#config = Object.freeze(Object.fromEntries([...kept, ...taken])) as unknown as Config
    return { changed, needRestart }
  }
}

/** A text that is another one exactly where the value is another; the place of a rule in its file is none of its value. */
function textOf(value: unknown): string | undefined {
  return JSON.stringify(value, function (this: Record<string, unknown>, key, shown: unknown) {
    // A secret shows a mask instead of itself by the time it comes here.
    const given = key === '' ? value : this[key]
    if (given instanceof Secret) return given.reveal()
    if (given instanceof Map) return [...given].map(([name, secret]) => [name, textOf(secret)])
    return key === 'where' ? undefined : shown
  })
}
