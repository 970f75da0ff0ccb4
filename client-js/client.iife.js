// Made from client.js by build.mjs.
window.sessionwatch = ((tag = document.currentScript) => {
const source = tag?.src;
const TERMINATED = 'Session terminated by administrator';
const said = new Set();
const say = line => said.has(line) || (said.add(line), console.warn('sessionwatch: ' + line));
class Session extends EventTarget {
    state = 'connecting';
    #abort = new AbortController();
    signal = this.#abort.signal;
    #work = [{ status: 'idle', current_task: null }];
    #who;
    #link;
    #settle;
    #sockets;
    #cut;
    constructor(options, connect) {
        const { app, userId, meta, id, sockets } = options;
        super();
        this.id = id;
        this.#who = { app_name: app, user_id: userId, meta, client: 'js/0.1.0' };
        this.#sockets = sockets;
        this.#link = connect(options, this);
        this.ready = new Promise((...settle) => this.#settle = settle);
        this.ready.catch(() => { });
    }
    setStatus(status, task) {
        const top = this.#work.at(-1);
        top.status = status;
        if (task !== undefined || !this.#work[1])
            top.current_task = task ?? null;
        this.#report();
    }
    setMeta(meta) { this.#send('status', { meta: this.#who.meta = meta }); }
    async task(name, work) {
        const task = this.startTask(name);
        try {
            return await work(task);
        }
        finally {
            task.end();
        }
    }
    startTask(name) {
        const entry = { status: 'running', current_task: name }, end = () => {
            this.#work = this.#work.filter(other => other != entry);
            this.#report();
        };
        this.#work.push(entry);
        this.#report();
        return { signal: this.signal, end, [Symbol.dispose]: end };
    }
    reconnect() {
        if (this.over)
            return;
        this.#become('connecting');
        this.#link.open();
    }
    end() { this.leave(); }
    get over() { return this.state == 'killed' || this.state == 'ended'; }
    opened() { this.#send('register', { ...this.#who, session_id: this.id, ...this.#work.at(-1) }); }
    receive({ type, ...fields }) {
        if (type == 'registered') {
            this.id = fields.session_id;
            this.#who.session_token = fields.session_token ?? this.#who.session_token;
            this.#become('online');
            this.#settle[0](this);
        }
        if (type == 'tick')
            this.#send('heartbeat'), this.#link.watch();
        if (type == 'kill')
            this.#killed(fields);
        if (type == 'error')
            this.#refused(fields);
        if (type == 'message') {
            this.#emit(type, fields);
            this.#send('message_ack', { message_id: fields.message_id });
        }
    }
    closed(code, reason) {
        if (code == 1001 && reason == TERMINATED)
            this.#killed({});
        if (this.over)
            return;
        if (code == 1000)
            return this.#become('ended');
        this.#become('offline');
        if ([1002, 1003, 1007, 1009, 4401, 4403, 4409].includes(code))
            say(`not trying again: ${code} ${reason}`);
        else
            this.#link.retry(this.#who.visibility == 'hidden');
    }
    see(visibility) {
        if (this.#who.visibility != visibility)
            this.#send('visibility', { visibility: this.#who.visibility = visibility });
        if (visibility == 'visible')
            this.#link.wake();
    }
    leave(persisted = false, closing) {
        if (this.over)
            return;
        const { session_token } = this.#who, sent = this.#send('bye', { persisted: persisted && !!session_token });
        if (!persisted && session_token && (closing || !sent))
            this.#link.post(`sessions/${encodeURIComponent(this.id)}/end`, { session_token });
        this.#link.close();
        this.#become(persisted ? 'suspended' : 'ended');
    }
    #report() { this.#send('status', this.#work.at(-1)); }
    #send(type, fields) { return !this.over && this.#link.send({ type, ...fields }); }
    #emit(type, fields) { this.dispatchEvent(Object.assign(new Event(type), fields)); }
    #become(state) {
        if (this.state == state)
            return;
        this.state = state;
        if (this.over)
            this.#settle[1](new DOMException(state, 'AbortError'));
        this.#emit('statechange', { state });
    }
    #refused({ status = 0, detail = '' }) {
        if (this.state == 'online')
            say(detail);
        else if (status == 403 && this.id) {
            this.id = this.#who.session_token = undefined;
            this.opened();
        }
        else {
            this.#link.close();
            this.closed(status > 428 ? 1013 : 4403, detail);
        }
    }
    async #killed({ kill_id = '', reason = null, by = null, grace_ms = 2000 }) {
        if (this.over)
            return this.#cut?.();
        this.#become('killed');
        const work = [], grace = new Promise(resolve => setTimeout(this.#cut = resolve, grace_ms));
        this.#emit('kill', { reason, by, grace_ms, waitUntil: promise => work.push(promise) });
        this.#abort.abort(new DOMException(TERMINATED, 'AbortError'));
        await Promise.race([grace, Promise.allSettled(work)]);
        try {
            const sockets = this.#sockets;
            for (const socket of typeof sockets == 'function' ? sockets() : sockets ?? [])
                try {
                    socket.close(4001, TERMINATED);
                }
                catch { }
        }
        catch (error) {
            say(error);
        }
        this.#link.send({ type: 'kill_ack', kill_id });
    }
}
const connect = (options, session) => {
    let socket, timer, watch, openedAt, attempt = 0;
    const url = path => `${options.server ?? new URL('.', source)}`.replace(/\/?$/, '/' + path);
    const link = {
        async open() {
            link.close();
            const { token, WebSocket = globalThis.WebSocket } = options;
            let own = socket = Object(), address;
            const closed = ({ code, reason }) => {
                if (own != socket)
                    return;
                if (!openedAt)
                    say(`no connection to ${address}: ${reason || code}. Is it up, and does it allow this origin ` +
                        `(--allow-origin ${globalThis.origin})?`);
                session.closed(code, reason);
            };
            try {
                address = url('ws/client').replace(/^http/, 'ws');
                const secret = typeof token == 'function' ? await token() : token;
                if (own != socket)
                    return;
                own = socket = new WebSocket(address, ['sessionwatch.v1'].concat(secret ? 'sessionwatch.auth.' +
                    btoa(secret).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '') : []));
                own.onopen = () => own == socket && (openedAt = Date.now(), session.opened());
                own.onmessage = ({ data }) => own == socket && session.receive(JSON.parse(data));
                own.onclose = closed;
                own.onerror = () => { };
            }
            catch (reason) {
                closed({ code: 1006, reason });
            }
        },
        send(frame) {
            try {
                return socket?.readyState == 1 && (socket.send(JSON.stringify(frame)), true);
            }
            catch (error) {
                say(error);
            }
        },
        post(path, body) {
            path = url(path);
            body = JSON.stringify(body);
            globalThis.navigator?.sendBeacon?.(path, body) ||
                fetch(path, { method: 'POST', body, keepalive: true }).catch(() => { });
        },
        retry(hidden) {
            if (Date.now() - openedAt > 1e4)
                attempt = 0;
            link.close();
            timer = setTimeout(link.open, Math.random() * (hidden ? 15e3 : Math.min(3e4, 500 * 2 ** attempt++)) + hidden * 3e4);
            Object(timer).unref?.();
        },
        wake() { timer && link.open(); },
        watch() {
            clearTimeout(watch);
            watch = setTimeout(() => session.closed(1006), 45e3);
        },
        close() {
            clearTimeout(timer);
            clearTimeout(watch);
            socket?.close?.();
            timer = socket = openedAt = undefined;
        },
    };
    setTimeout(() => session.over || link.open(), 0);
    return link;
};
const follow = session => {
    const until = new AbortController();
    const on = (target, type, listener) => target.addEventListener(type, listener, until);
    const see = () => session.see(document.visibilityState);
    on(document, 'visibilitychange', see);
    on(document, 'resume', see);
    on(window, 'online', see);
    on(document, 'freeze', () => session.see('frozen'));
    on(window, 'pagehide', ({ persisted }) => session.leave(persisted, true));
    on(window, 'pageshow', ({ persisted }) => persisted && session.reconnect());
    on(session, 'statechange', () => session.over && until.abort());
    see();
};
const notify = session => {
    const box = document.createElement('div');
    const show = (kind, textContent) => {
        Object.assign(box, { className: 'sessionwatch-notice ' + kind, role: 'alert', popover: 'manual', textContent });
        document.documentElement.append(box);
        box.showPopover?.();
    };
    box.onclick = () => session.over || box.remove();
    session.addEventListener('message', ({ level, text }) => show(level, text));
    session.addEventListener('kill', ({ reason }) => show('kill', TERMINATED + (reason ? ': ' + reason : '')));
};
const monitorSession = (options = Object()) => {
    const session = new Session(options, connect), { signal } = options, end = () => session.end();
    if (globalThis.document) {
        follow(session);
        if (options.notice)
            notify(session);
    }
    signal?.addEventListener('abort', end);
    if (signal?.aborted)
        end();
    return session;
};
const { app, user: userId, server, token, notice } = tag?.dataset ?? {};
return {
    monitorSession,
    session: app && monitorSession({ app, userId, server, token, notice: notice != null }),
};
})();
