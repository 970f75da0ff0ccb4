// The socket, in a worker. A browser passes a message on in pieces of 64 KiB and reads no further until each is taken;
// on the page's own thread every piece would wait for sorting and drawing. Frames go to the page as text, and
// compressed ones are inflated here; `connection.js` decides everything.

let current = null;

/** The forms of the frames that this browser can read, the cheapest first. */
const FORMS = ['sessionwatch.v1.patch', 'sessionwatch.v1'];
try {
  new DecompressionStream('deflate-raw');
  FORMS.unshift('sessionwatch.v1.patch.z');
} catch {
  // An older browser: frames come as text.
}

/** The text of a frame: at once, or as a promise where it has to be inflated. */
function textOf(data) {
  if (typeof data === 'string') return data;
  const bytes = new Response(data).body;
  return new Response(bytes.pipeThrough(new DecompressionStream('deflate-raw'))).text();
}

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
  const offered = [...FORMS];
  // A page can send no header with a socket.
  if (page) offered.push(`sessionwatch.page.${page}`);
  const socket = new WebSocket(url, offered);
  current = { number, socket };
  socket.onopen = () => postMessage({ number, opened: true });
  socket.binaryType = 'arraybuffer';
  // One after another, since inflating takes different times.
  let last = Promise.resolve();
  const pass = message => {
    last = last.then(async () => postMessage({ number, ...(await message()) }));
    // What cannot be inflated is no frame of this server: the page connects again.
    last = last.catch(() => socket.close(4002));
  };
  socket.onmessage = ({ data }) => {
    const text = textOf(data);
    pass(async () => ({ frame: await text }));
  };
  socket.onclose = ({ code }) => pass(() => ({ code }));
}
