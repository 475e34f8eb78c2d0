// The settings of a running mirror that may change. Rooms read them through one object at each use and never copy them.
// This file reads no settings file; the caller hands in new settings.

import { type Config, isLive, type LiveName, rows } from './keys.ts'
import { POLICIES } from './policies.ts'
import { Secret } from './secret.ts'

/** The settings that can change while the mirror runs, as they are now. Kept as an object and read at each use. */
export type LiveSettings = Pick<Config, LiveName>

/** The keys whose values differ between an old and a new Config. */
export interface Changes {
  /** The new value counts from now on. */
  readonly changed: readonly string[]
  /** The old value counts until a restart. */
  readonly needRestart: readonly string[]
}

export class Live {
  readonly settings: LiveSettings
  #config: Config

  constructor(config: Config) {
    this.#config = config
    // Names come from the table, because an optional setting without a value is no key of the config, but may become one.
    const names = [...rows().map(({ name }) => name), 'policies', 'hubTokens'].filter(isLive)
    const properties = names.map((name) => [name, { enumerable: true, get: () => this.#config[name] }])
    this.settings = Object.defineProperties({}, Object.fromEntries(properties)) as LiveSettings
  }

  /** Applies the settings of `next` that may change. Later calls name those that need a restart again. */
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

/** A text that differs exactly when the value differs. The position of a rule in its file does not count. */
function textOf(value: unknown): string | undefined {
  return JSON.stringify(value, function (this: Record<string, unknown>, key, shown: unknown) {
    // JSON.stringify has already replaced the secret by its mask in `shown`.
    const given = key === '' ? value : this[key]
    if (given instanceof Secret) return given.reveal()
    if (given instanceof Map) return [...given].map(([name, secret]) => [name, textOf(secret)])
    return key === 'where' ? undefined : shown
  })
}
