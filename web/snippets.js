// Code to paste, with this server's address: how an app registers its first session, and the command that ends one.

const shell = text => `'${text.replaceAll("'", "'\\''")}'`;

/** @param {string} server the address of the server, without a slash at the end */
export function joining(server) {
  return [
    {
      name: 'JavaScript',
      code: `import { monitorSession } from '${server}/client.js';\n\nconst session = monitorSession({ app: 'my-app', userId: 'ana' });\nawait session.task('Q4 report', async ({ signal }) => { /* … */ });`,
    },
    {
      name: 'Python',
      code: `from session_client import SessionClient\n\ntracker = SessionClient.get_tracker(app_name="my-app", server_url="${server}")\nwith tracker.task("Q4 report"):\n    ...`,
    },
    {
      name: 'curl',
      code: `curl -X POST ${server}/sessions -H 'content-type: application/json' \\\n  -d '{"app_name": "my-app", "user_id": "ana"}'`,
    },
  ];
}

/** The command that ends one session. Session ids need no quoting; reasons do. */
export function killCommand(server, id, reason = 'maintenance') {
  return `curl -X POST ${shell(`${server}/sessions/${encodeURIComponent(id)}/kill`)} -H 'content-type: application/json' \\\n  -d ${shell(JSON.stringify({ reason }))}`;
}
