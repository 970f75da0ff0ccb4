// Uses the three recipes of the client's README, and the classic script's types.
import { createRoot } from 'react-dom/client';
import { mount } from 'svelte';
import { createApp } from 'vue';
import 'sessionwatch-client/client.iife.js';
import SvelteRecipe from './Recipe.svelte';
import VueRecipe from './Recipe.vue';
import { useSession } from './use-session';

const server = 'http://localhost:8000';
const at = (id: string) => document.getElementById(id)!;

function ReactRecipe({ user }: { user: string | null }) {
  const { session, state } = useSession({ app: 'reports', userId: user, server });
  return <p onClick={() => session?.setStatus('running', 'export')}>{state}</p>;
}

createRoot(at('react')).render(<ReactRecipe user={null} />);
createApp(VueRecipe, { server }).mount(at('vue'));
mount(SvelteRecipe, { target: at('svelte'), props: { server } });
globalThis.sessionwatch.session?.end();
