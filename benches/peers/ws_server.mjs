// Node's `ws`, as a peer for fan-out: a message posted to /pub goes to every socket.
// A peer for the benchmarks, not a part of sessionwatch.
//
//     node ws_server.mjs PORT   (with `ws` in node_modules of the working directory)

import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(`${process.cwd()}/`)('ws');

const http = createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const text = Buffer.concat(parts).toString();
    for (const socket of sockets.clients) socket.send(text);
    response.writeHead(202, { 'content-length': '0' }).end();
  });
});
const sockets = new WebSocketServer({ server: http, perMessageDeflate: false });
http.listen(Number(process.argv[2]), '127.0.0.1');
