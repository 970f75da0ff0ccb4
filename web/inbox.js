// Frames that have come and were not read yet, as text: they are decoded one at a time, when there is time for it.

export class Inbox {
  #frames = [];
  #next = 0;

  add(text) {
    this.#frames.push(text);
  }

  get empty() {
    return this.#next === this.#frames.length;
  }

  /** The oldest frame, decoded; only when there is one. */
  take() {
    const frame = JSON.parse(this.#frames[this.#next]);
    this.#frames[this.#next] = undefined;
    this.#next += 1;
    if (this.empty) this.clear();
    return frame;
  }

  clear() {
    this.#frames = [];
    this.#next = 0;
  }
}
