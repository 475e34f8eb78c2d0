// Rules as an operator writes them: the text of the section, read as the settings file is.

import { loadConfig } from '../../src/config/load.ts'
import type { Rule } from '../../src/policy/rules.ts'

/** The rules of a YAML list. Throws ConfigFaults. */
export function policiesOf(yaml: string): readonly Rule[] {
  const text = `policies:\n${yaml.replace(/^/gm, '  ')}\n`
  return loadConfig({ flags: { config: 'h.yaml' }, env: {}, readFile: () => text }).config.policies
}
