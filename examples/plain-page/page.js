const [state, run, progress, notes] = ['state', 'run', 'progress', 'notes'].map(id => document.getElementById(id));

// Nothing here waits for the monitor: without it, the page is no session and works all the same.
/** @type {import('../../client-js/client.d.ts').MonitoredSession | undefined} */
let session;
import('http://localhost:8000/client.js').then(({ monitorSession }) => {
  session = monitorSession({ app: 'reports', userId: 'ana', meta: { page: 'plain' }, notice: true });
  session.addEventListener('statechange', event => { state.value = event.state; });
  // The monitor waits for this before it closes the session, for 2 s at most.
  session.addEventListener('kill', event => {
    run.disabled = true;
    event.waitUntil(save(notes.value));
  });
}).catch(() => { state.value = 'no monitor'; });

run.addEventListener('click', async () => {
  run.disabled = true;
  try {
    await (session ? session.task('Q4 report', ({ signal }) => report(signal)) : report(new AbortController().signal));
  } catch (error) {
    // A kill aborts the signal, and report() throws AbortError.
    if (error.name !== 'AbortError') throw error;
  } finally {
    run.disabled = session?.state === 'killed';
  }
});

/** Simulates five seconds of work that can be aborted. */
async function report(signal) {
  for (progress.value = 0; progress.value < progress.max; progress.value++) {
    signal.throwIfAborted();
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

async function save(text) { localStorage.setItem('notes', text); }

notes.value = localStorage.getItem('notes') ?? '';
