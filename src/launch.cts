#!/usr/bin/env node
// The bin. Makes Node's thread pool larger before anything starts it: four threads serve files, DNS and syncs alike,
// so eight slow syncs would make every read wait. Set later, from a module, it has no effect.
process.env['UV_THREADPOOL_SIZE'] ??= '16'
void import('./cli.ts')
