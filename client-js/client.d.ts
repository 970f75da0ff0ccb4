/// <reference lib="esnext.disposable" />
/**
 * Makes this page, or process, a session until it ends. Never throws.
 * @type {(options: Options) => MonitoredSession}
 */
export const monitorSession: (options: Options) => MonitoredSession;
export type Meta = Record<string, string | number | boolean>;
export type Sockets = Iterable<{
    close(code: number, reason: string): void;
}>;
export type Options = {
    app: string;
    userId?: string;
    meta?: Meta;
    id?: string;
    server?: string | URL;
    token?: string | (() => string | Promise<string>);
    sockets?: Sockets | (() => Sockets);
    signal?: AbortSignal;
    notice?: boolean;
    WebSocket?: any;
};
export type State = "connecting" | "online" | "offline" | "suspended" | "killed" | "ended";
export type Events = {
    statechange: {
        state: State;
    };
    message: {
        text: string;
        level: string;
        by: string | null;
    };
    kill: {
        reason: string | null;
        by: string | null;
        grace_ms: number;
        waitUntil(work: Promise<any>): void;
    };
};
export type MonitoredSession = {
    addEventListener<K extends keyof Events>(type: K, listener: (event: Event & Events[K]) => any, options?: any): void;
} & EventTarget & {
    id?: string;
    state: State;
    ready: Promise<MonitoredSession>;
    signal: AbortSignal;
    setStatus(status: string, task?: string | null): void;
    setMeta(meta: Meta): void;
    task<T>(name: string, work: (task: {
        signal: AbortSignal;
    }) => T | Promise<T>): Promise<T>;
    startTask(name: string): {
        signal: AbortSignal;
        end(): void;
    } & Disposable;
    reconnect(): void;
    end(): void;
};
