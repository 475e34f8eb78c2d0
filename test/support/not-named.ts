/** What is kept of restricted repos where no rule names one: nothing. */
export const NOT_NAMED = {
  isNamed: () => false,
  isShown: () => Promise.resolve(false),
  show() {},
  end: () => Promise.resolve(),
  endAll: () => Promise.resolve(),
}
