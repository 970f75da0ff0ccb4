import { StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { useSession } from './use-session.js';

const server = new URLSearchParams(location.search).get('server') ?? 'http://localhost:8000';

function Reports() {
  const { session, state } = useSession({ app: 'reports', userId: 'ana', server });
  const [done, setDone] = useState(0);
  const run = () => session.task('Q4 report', async ({ signal }) => {
    for (let percent = 0; percent <= 100 && !signal.aborted; percent += 2) {
      setDone(percent);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  });
  return (
    <main>
      <h1>Reports</h1>
      <p>This component is a session, and it is <output>{state}</output>.</p>
      <button onClick={run} disabled={state === 'killed'}>Make the Q4 report</button>{' '}
      <progress max={100} value={done} aria-label="Q4 report" />
    </main>
  );
}

createRoot(document.getElementById('root')).render(<StrictMode><Reports /></StrictMode>);
