// The socket itself, in a thread of its own. A browser hands a message over in pieces of 64 KiB and sends no more
// until each was taken; on the page's own thread every piece would wait for whatever is being sorted or drawn.
// Frames go on to the page as text, untouched; `connection.js` decides everything.

let current = null;

/** `{ open: number, url }` opens the socket of that number in place of any other; `{ close: number }` closes it. */
onmessage = ({ data }) => {
  if (data.open !== undefined) open(data.open, data.url);
  else if (current?.number === data.close) current.socket.close(1000);
};

function open(number, url) {
  current?.socket.close(1000);
  const socket = new WebSocket(url, 'sessionwatch.v1');
  current = { number, socket };
  socket.onopen = () => postMessage({ number, opened: true });
  socket.onmessage = event => postMessage({ number, frame: event.data });
  socket.onclose = event => postMessage({ number, code: event.code });
}
