// Loads configuration and tokenizer with transformers.js. usage: transformers.mjs HUB_URL REPO
// Run with the folder of the JavaScript clients as working directory.

import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

// Resolved at run time: the package belongs to that folder, and not to this project.
const client = '@huggingface/transformers'
const require = createRequire(`${process.cwd()}/package.json`)
const { AutoConfig, AutoTokenizer, env } = await import(pathToFileURL(require.resolve(client)).href)
const [hubUrl, repo] = process.argv.slice(2)
env.remoteHost = hubUrl
env.cacheDir = `${process.env.HOME}/cache`
env.allowLocalModels = false

const config = await AutoConfig.from_pretrained(repo)
const tokenizer = await AutoTokenizer.from_pretrained(repo)
console.log(JSON.stringify({ modelType: config.model_type, tokens: tokenizer.encode('hello world').length }))
