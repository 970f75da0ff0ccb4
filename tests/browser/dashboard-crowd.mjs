// Many real sessions on a few shared sockets, in a process of its own, so that their load does not slow down the test.
// Started by `startCrowd` in dashboard-support.mjs, which sends it messages; each is answered with `{done}`.
//
// The sessions acknowledge kills and messages. They beat and change their tasks at the rate that a message sets.

const url = process.argv[2];
const SOCKETS = 4;
/** How many registrations each socket has under way: enough to fill the server's batches, but not its queue. */
const WINDOW = 256;

const sockets = [];
const sessions = [];
let changing = 0;
let beating = 0;
let deaf = false;

function open() {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws/client`, 'sessionwatch.v1');
    socket.waiting = [];
    socket.onerror = () => reject(new Error('the socket failed'));
    socket.onclose = event => {
      if (event.code !== 1000 && event.code !== 1012 && event.code !== 1006)
        process.send?.({ error: `closed ${event.code} ${event.reason}` });
    };
    socket.onmessage = event => receive(socket, JSON.parse(event.data));
    socket.onopen = () => resolve(socket);
  });
}

function receive(socket, frame) {
  const answer = fields => socket.send(JSON.stringify({ session_id: frame.session_id, ...fields }));
  switch (frame.type) {
    case 'registered':
      socket.waiting.shift()?.();
      break;
    case 'kill':
      if (!deaf) answer({ type: 'kill_ack', kill_id: frame.kill_id });
      break;
    case 'message':
      if (!deaf) answer({ type: 'message_ack', message_id: frame.message_id });
      break;
    case 'error':
      socket.waiting.shift()?.();
      if (frame.status !== 404 && frame.status !== 410) process.send({ error: JSON.stringify(frame) });
      break;
    default:
  }
}

/** Registers `list` of registrations (the fields of POST /sessions), spread over the sockets. */
async function register(list) {
  // Every socket needs a session, else the server closes it.
  while (sockets.length < Math.min(SOCKETS, list.length)) sockets.push(await open());
  const most = Math.min(WINDOW, Math.ceil(list.length / sockets.length));
  let next = 0;
  await Promise.all(
    sockets.map(async socket => {
      let inFlight = 0;
      let wake = null;
      const settled = () => {
        inFlight -= 1;
        wake?.();
      };
      while (next < list.length || inFlight > 0) {
        while (next < list.length && inFlight < most) {
          const fields = list[next];
          next += 1;
          inFlight += 1;
          socket.waiting.push(settled);
          socket.send(JSON.stringify({ type: 'register', shared: true, client: 'crowd/1', ...fields }));
          sessions.push({ socket, id: fields.session_id });
        }
        if (inFlight > 0)
          await new Promise(resolve => {
            wake = resolve;
          });
      }
    }),
  );
}

/** `rate` changes of status and task a second, at random sessions. */
function change(rate) {
  clearInterval(changing);
  if (rate === 0) return;
  const TICK = 20;
  let owed = 0;
  let count = 0;
  let before = performance.now();
  changing = setInterval(() => {
    const now = performance.now();
    owed = Math.min(rate, owed + (rate * (now - before)) / 1000);
    before = now;
    for (; owed >= 1; owed -= 1) {
      const { socket, id } = sessions[Math.floor(Math.random() * sessions.length)];
      count += 1;
      const task = count % 2 ? `task ${count}` : null;
      socket.send(
        JSON.stringify({ type: 'status', session_id: id, status: task ? 'running' : 'idle', current_task: task }),
      );
    }
  }, TICK);
}

/** One beat each `every` ms for every session, spread evenly. */
function beat(every) {
  clearInterval(beating);
  let at = 0;
  const TICK = 100;
  beating = setInterval(() => {
    const many = Math.ceil((sessions.length * TICK) / every);
    for (let i = 0; i < many; i += 1) {
      const { socket, id } = sessions[at % sessions.length];
      at += 1;
      socket.send(JSON.stringify({ type: 'heartbeat', session_id: id }));
    }
  }, TICK);
}

const send = (id, fields) =>
  sessions.find(session => session.id === id).socket.send(JSON.stringify({ session_id: id, ...fields }));

process.on('message', async message => {
  try {
    if (message.register) await register(message.register);
    if (message.change !== undefined) change(message.change);
    if (message.beat) beat(message.beat);
    if (message.deaf !== undefined) deaf = message.deaf;
    if (message.send) send(message.send.session_id, message.send);
    process.send({ done: message.number });
  } catch (error) {
    process.send({ error: String(error) });
  }
});
process.on('disconnect', () => process.exit());
