// Node's own HTTP server on stdin and stdout: they are the one connection that it will ever have.
'use strict'
const http = require('node:http')
const { Duplex } = require('node:stream')
const { setTimeout } = require('node:timers/promises')

async function handler (request, response) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const data = Buffer.concat(chunks)
  const end = data.indexOf('\n')
  const op = data.subarray(0, end < 0 ? data.length : end).toString()
  let rest = end < 0 ? Buffer.alloc(0) : data.subarray(end + 1)

  response.setHeader('Content-Type', 'text/plain; charset=utf-8')
  if (op === 'status') {
    response.statusCode = 418
    response.setHeader('X-Custom', 'one')
    response.write('short and ')  // in two chunks
    return response.end('stout')
  }
  if (op === 'token') rest = Buffer.from(request.headers['x-token'])
  if (op === 'raise') throw new Error(rest.toString())
  if (op === 'bytes') rest = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  if (op === 'sleep') await setTimeout(Number(rest) * 1000)
  if (op === 'print') console.log('a stray line')
  response.end(rest)
}

// A copy may be idle for as long as it likes.
const server = http.createServer({ requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0 }, handler)
server.emit('connection', Duplex.from({ readable: process.stdin, writable: process.stdout }))
process.stdin.on('end', () => process.exit(0))
