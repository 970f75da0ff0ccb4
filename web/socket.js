// The socket itself, in a thread of its own. A browser hands a message over in pieces of 64 KiB and sends no more
// until each was taken; on the page's own thread every piece would wait for whatever is being sorted or drawn.
// Frames go on to the page as text, untouched; `connection.js` decides everything.

let current = null;

/**
 * `{ open: number, url, page }` opens the socket of that number in place of any other, `page` being the page's secret;
 * `{ close: number }` closes it.
 */
onmessage = ({ data }) => {
  if (data.open !== undefined) open(data.open, data.url, data.page);
  else if (current?.number === data.close) current.socket.close(1000);
};

function open(number, url, page) {
  current?.socket.close(1000);
  const offered = ['sessionwatch.v1'];
  // A page can send no header with a socket.
  if (page) offered.push(`sessionwatch.page.${page}`);
  const socket = new WebSocket(url, offered);
  current = { number, socket };
  socket.onopen = () => postMessage({ number, opened: true });
  socket.onmessage = event => postMessage({ number, frame: event.data });
  socket.onclose = event => postMessage({ number, code: event.code });
}
