// For svelte-check, which does not read Vue's files; vue-tsc does.
declare module '*.vue' {
  import type { DefineComponent } from 'vue';
  const component: DefineComponent<{ server: string }>;
  export default component;
}
