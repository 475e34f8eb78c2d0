// curl as a client: the cheapest that there is, for work in which a client of our own would take too much of the machine.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { versionOf } from './servers.ts'

export const CURL_SETUP = 'apt-get install curl'

export function hasCurl(): Promise<boolean> {
  return versionOf('curl', ['--version']).then(
    () => true,
    () => false,
  )
}

/** Reads a body and drops it. Resolves with the CPU seconds of curl. Rejects when the answer is not a 200 of this size. */
export async function curl(
  url: string,
  options: { readonly sizeBytes: number; readonly caFile: string; readonly deadlineSeconds: number },
): Promise<number> {
  const { sizeBytes, caFile, deadlineSeconds } = options
  const args = `-sS -o /dev/null --cacert ${caFile} --max-time ${deadlineSeconds}`.split(' ')
  const script = 'TIMEFORMAT="%U %S"; time curl "$@"'
  const { stdout, stderr } = await promisify(execFile)('bash', [
    '-c',
    script,
    'bash',
    ...args,
    '-w',
    '%{http_code} %{size_download}',
    url,
  ])
  if (stdout !== `200 ${sizeBytes}`) throw new Error(`status and size are ${stdout}`)
  const [user, system] = stderr.trim().split(' ').map(Number)
  return (user ?? 0) + (system ?? 0)
}
