// How the suites call Python clients: which environment, which script, as whom. Knows no Hub.

import { runPython } from './python-server.ts'
import { jsonOf, type RunOptions } from './run.ts'
import type { Scene } from './scene.ts'
import { scriptPath } from './tools.ts'

/** As which user, and from where. The defaults: anonymous, with an empty home, through the mirror. */
export interface Caller {
  readonly token?: string
  readonly home?: string
  /** Past the mirror, straight to the Hub: for comparison. */
  readonly direct?: boolean
  /** HF_ENDPOINT, if it is not just the URL of the mirror. */
  readonly endpoint?: string
  /** A PEM file with the authority of the mirror's certificate. */
  readonly authority?: string
}

/** The environment variables of a huggingface_hub client in this scene. */
export function hubEnvironment(scene: Scene, caller: Caller = {}): Record<string, string> {
  return {
    HF_ENDPOINT: caller.direct === true ? scene.hub.url : (caller.endpoint ?? scene.mirror.url),
    HF_HUB_DISABLE_PROGRESS_BARS: '1',
    // The Hub itself would lead it to Xet, which the simulator does not play.
    ...(caller.direct === true ? { HF_HUB_DISABLE_XET: '1' } : {}),
    ...(caller.token === undefined ? {} : { HF_TOKEN: caller.token }),
    // Of httpx, and of requests.
    ...(caller.authority === undefined
      ? {}
      : { SSL_CERT_FILE: caller.authority, REQUESTS_CA_BUNDLE: caller.authority }),
  }
}

/** Runs a script of `../scripts` in the environment `name` and returns what it printed as JSON. */
export async function python(
  scene: Scene,
  name: string,
  script: string,
  args: readonly string[],
  caller: Caller = {},
): Promise<unknown> {
  return pythonForJson(name, [scriptPath(script), ...args], {
    home: caller.home ?? (await scene.newHome()),
    env: hubEnvironment(scene, caller),
    direct: caller.direct === true,
  })
}

/** Runs a script by its path, whose last line of output is JSON. Throws with all it said when it fails. */
export async function pythonForJson(
  name: string,
  args: readonly string[],
  options: RunOptions,
): Promise<unknown> {
  return jsonOf(await runPython(name, args, options), [name, ...args])
}
