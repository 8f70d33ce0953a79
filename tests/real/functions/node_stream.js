// A function with @fnproject/fdk 0.0.76, format `http-stream`; NODE_PATH says where that is.
'use strict'
const { setTimeout } = require('node:timers/promises')
const fdk = require('@fnproject/fdk')

async function handler (data, context) {
  const end = data.indexOf('\n')
  const op = data.subarray(0, end < 0 ? data.length : end).toString()
  let rest = end < 0 ? Buffer.alloc(0) : data.subarray(end + 1)

  context.responseContentType = 'text/plain; charset=utf-8'
  if (op === 'status') {
    context.httpGateway.statusCode = 418
    context.httpGateway.setResponseHeader('X-Custom', 'one')
    rest = Buffer.from('short and stout')
  }
  if (op === 'token') rest = Buffer.from(context.httpGateway.getHeader('X-Token'))
  if (op === 'raise') throw new Error(rest.toString())
  if (op === 'bytes') rest = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  if (op === 'sleep') await setTimeout(Number(rest) * 1000)
  if (op === 'print') console.log('a stray line')
  return fdk.rawResult(rest)
}

fdk.handle(handler, { inputMode: 'buffer' })
