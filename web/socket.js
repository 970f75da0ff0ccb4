// The socket, in a worker. A browser passes a message on in pieces of 64 KiB and reads no further until each is taken;
// on the page's own thread every piece would wait for sorting and drawing. Frames go to the page as text;
// `connection.js` decides everything.

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
