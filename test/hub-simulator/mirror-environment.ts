// The environment of a mirror that runs by hand in front of the simulator. Knows the mirror by its settings only.

import type { Hub } from './server.ts'

const DIRECT = '127.0.0.1,127.0.0.2,localhost'

/**
 * This process's environment for a mirror of `hub`. It has none of the developer's own `HUBMIRROR_` settings, but
 * `settings`, and the addresses of the simulator bypass any proxy.
 */
export function mirrorEnvironment(hub: Hub, settings: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('HUBMIRROR_'))
  return {
    ...Object.fromEntries(inherited),
    NO_PROXY: DIRECT,
    no_proxy: DIRECT,
    HUBMIRROR_ORIGIN: hub.url,
    HUBMIRROR_REDIRECT_HOSTS: new URL(hub.cdnUrl).hostname,
    ...settings,
  }
}
