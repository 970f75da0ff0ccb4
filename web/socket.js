// The socket, in a worker. A browser passes a message on in pieces of 64 KiB and reads no further until each is taken;
// on the page's own thread every piece would wait for sorting and drawing. Frames go to the page as text;
// `connection.js` decides everything.

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
