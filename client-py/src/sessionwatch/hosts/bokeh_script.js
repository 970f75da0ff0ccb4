// The part of the client that runs in a Bokeh or Panel page: notices input, and asks a user who is warned.
// It is the code of a CustomJS. `cb_obj` is the model that both sides share: Python writes its `tags`, this script its
// `name`, each a list that begins with a number of its own, so that no two are equal. `bokeh_script.py` is the other side.

const page = cb_obj.sessionwatch ??= { said: 0, isActive: false, warnings: new Map() };
const say = (...words) => { cb_obj.name = JSON.stringify([page.said += 1, ...words]); };
const idleSeconds = () => page.isActive ? 0 : (Date.now() - page.input) / 1000;

function touched() {
  page.input = Date.now();
  if (page.isActive) return;
  page.isActive = true;
  say('idle', 0);
  watch();
}

function watch() {
  const left = page.input + idle_after * 1000 - Date.now();
  if (left > 0) return void setTimeout(watch, left);
  page.isActive = false;
  say('idle', idleSeconds());
}

// Asked once for each connection.
function follow() {
  if (page.input) say('idle', idleSeconds());
  else {
    for (const type of ['pointerdown', 'pointermove', 'keydown', 'wheel', 'scroll', 'touchmove'])
      window.addEventListener(type, touched, { capture: true, passive: true });
    touched();
  }
}

function remove(id) {
  page.warnings.get(id)?.remove();
  page.warnings.delete(id);
}

function warn(id, text, end) {
  remove(id);
  const box = document.createElement('div');
  // A popover lies on top of the page without any style of ours.
  Object.assign(box, { className: 'sessionwatch-notice warning', role: 'alert', popover: 'manual', textContent: text });
  const stay = document.createElement('button');
  Object.assign(stay, { type: 'button', textContent: 'Stay', onclick: () => { remove(id); say('stay', id); } });
  box.append(' ', stay);
  document.documentElement.append(box);
  box.showPopover?.();
  page.warnings.set(id, box);
  setTimeout(() => remove(id), Date.parse(end) - Date.now());
  say('shown', id);
}

const [, command, ...words] = cb_obj.tags;
if (command === 'here') say('here');
else if (command === 'follow') follow();
else if (command === 'warn') warn(...words);
