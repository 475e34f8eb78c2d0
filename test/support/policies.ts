// Rules as an operator writes them: the text of the section, read as the settings file is.

import { loadConfig } from '../../src/config/load.ts'
import type { Rule } from '../../src/policy/rules.ts'

const read = new Map<string, readonly Rule[]>()

/** The rules of a YAML list; the Hub tokens that they name are there. Reads each text once. Throws ConfigFaults. */
export function policiesOf(yaml: string): readonly Rule[] {
  const rules = read.get(yaml) ?? readPolicies(yaml)
  read.set(yaml, rules)
  return rules
}

function readPolicies(yaml: string): readonly Rule[] {
  const names = new Set([...yaml.matchAll(/token: *([\w-]+)/g)].map(([, name]) => name))
  const tokens = [...names].map((name) => `tokens.${name}.token: hf_x`)
  // Rules with `serve-stored` are refused without it.
  const text = ['cache.private: on', ...tokens, `policies:\n${yaml.replace(/^/gm, '  ')}`].join('\n')
  return loadConfig({ flags: { config: 'h.yaml' }, env: {}, readFile: () => text }).config.policies
}
