import { monitorSession } from 'http://localhost:8000/client.js';

const session = monitorSession({ app: 'reports', userId: 'ana', meta: { page: 'plain' }, notice: true });
const [state, run, progress, notes] = ['state', 'run', 'progress', 'notes'].map(id => document.getElementById(id));

session.addEventListener('statechange', event => { state.value = event.state; });

run.addEventListener('click', async () => {
  run.disabled = true;
  try {
    await session.task('Q4 report', ({ signal }) => report(signal));
  } catch (error) {
    // A kill aborts the signal, and report() throws AbortError.
    if (error.name !== 'AbortError') throw error;
  } finally {
    run.disabled = session.state === 'killed';
  }
});

// The monitor waits for this before it closes the session, for 2 s at most.
session.addEventListener('kill', event => {
  run.disabled = true;
  event.waitUntil(save(notes.value));
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
