// The settings that may change while the mirror runs. Rooms read them through one object at each use, and never copy them.
// This file does not read the settings file; the caller hands in new settings.

import { type Config, isLive, type LiveName, rows } from './keys.ts'
import { POLICIES } from './policies.ts'
import { Secret } from './secret.ts'

/** The current values of the settings that can change. Rooms keep this object and read its properties at each use. */
export type LiveSettings = Pick<Config, LiveName>

/** The keys whose values differ between an old and a new Config. */
export interface Changes {
  /** The new value is in use from now on. */
  readonly changed: readonly string[]
  /** The old value stays in use until a restart. */
  readonly needRestart: readonly string[]
}

export class Live {
  readonly settings: LiveSettings
  #config: Config

  constructor(config: Config) {
    this.#config = config
    // The names come from the table, because an optional setting without a value is not a key of the config yet.
    const names = [...rows().map(({ name }) => name), 'policies', 'hubTokens'].filter(isLive)
    const properties = names.map((name) => [name, { enumerable: true, get: () => this.#config[name] }])
    this.settings = Object.defineProperties({}, Object.fromEntries(properties)) as LiveSettings
  }

  /** Applies the settings of `next` that may change. Later calls report those that need a restart again. */
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
    // Both are parts of a Config, and together they have all its keys.
    this.#config = Object.freeze(Object.fromEntries([...kept, ...taken])) as unknown as Config
    return { changed, needRestart }
  }
}

/** A text that differs exactly if the value differs. The position of a rule in its file does not count. */
function textOf(value: unknown): string | undefined {
  return JSON.stringify(value, function (this: Record<string, unknown>, key, shown: unknown) {
    // In `shown`, JSON.stringify has already replaced a secret by its mask.
    const given = key === '' ? value : this[key]
    if (given instanceof Secret) return given.reveal()
    if (given instanceof Map) return [...given].map(([name, secret]) => [name, textOf(secret)])
    return key === 'where' ? undefined : shown
  })
}
