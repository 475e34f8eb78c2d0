import type { Reporter, TestModule } from 'vitest/node'

const SLOWEST = 10

/**
 * Closes a run with the slowest test files, a line `failed: FILE > TEST: MESSAGE` for each failure, and one line that
 * machines can read: `N passed, N failed, N skipped`.
 */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const timed = modules
      .map((module) => ({ name: module.relativeModuleId, seconds: secondsOf(module) }))
      .sort((a, b) => b.seconds - a.seconds)
      .slice(0, SLOWEST)
    console.log('\nslowest files, in seconds with their imports:')
    for (const { name, seconds } of timed) console.log(`${seconds.toFixed(1).padStart(7)}  ${name}`)
    const count = { passed: 0, failed: 0, skipped: 0 }
    for (const module of modules) {
      // A file that cannot be loaded has no tests to count, and still is a failure.
      if (module.state() === 'failed' && [...module.children.allTests()].length === 0) {
        count.failed += 1
        printFailure(module.relativeModuleId, module.errors())
      }
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result()
        if (state === 'passed') count.passed += 1
        else if (state === 'failed') {
          count.failed += 1
          printFailure(`${module.relativeModuleId} > ${test.fullName}`, errors)
        } else count.skipped += 1
      }
    }
    console.log(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`)
  }
}

function printFailure(name: string, errors: readonly { message: string }[]): void {
  const messages = errors.map(({ message }) => message.replace(/\s+/g, ' ').slice(0, 1000))
  console.log(`failed: ${name}: ${messages.join(' | ')}`)
}

function secondsOf(module: TestModule): number {
  const { duration, collectDuration, setupDuration } = module.diagnostic()
  return (duration + collectDuration + setupDuration) / 1000
}
