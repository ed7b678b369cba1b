/**
 * For tests that kill it or measure it: imports one source into a store, with a dot for each event. Its first line is its
 * resident memory before that, bytes. Arguments: store, source.
 */
import { writeSync } from 'node:fs'
import { Progress } from '@coppice/protocol/wire'
import { ImageStore } from '../image-store.ts'

const [dir = '', source = ''] = process.argv.slice(2)
const store = await ImageStore.open(dir)
writeSync(1, `${process.memoryUsage.rss()}\n`)
const progress = new Progress({ onEvent: () => writeSync(1, '.') })
const options = { registry: { retryMs: 20, attempts: 1000 } }
const image =
  source === '-'
    ? await store.importStream(process.stdin, options, progress)
    : await store.import(source, options, progress)
writeSync(1, `\n${JSON.stringify(image)}\n`)
