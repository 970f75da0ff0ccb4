// A list that the server keeps and that the page reads again when it may have changed.

/**
 * Reads a list, one request at a time. What changes while it is read is read again. Fires `change` after each answer.
 */
export class Reading extends EventTarget {
  #read;
  #reading = null;
  #again = false;

  /** @param {() => Promise<void>} read asks the server and keeps the answer; its error is kept in `error` */
  constructor(read) {
    super();
    this.#read = read;
    /** Why the last request failed, null when it did not. */
    this.error = null;
  }

  /** Reads the list; done when what was there at this call has been read. */
  async refresh() {
    if (this.#reading) {
      this.#again = true;
      return this.#reading;
    }
    this.#reading = this.#all();
    try {
      return await this.#reading;
    } finally {
      this.#reading = null;
    }
  }

  async #all() {
    do {
      this.#again = false;
      try {
        await this.#read();
        this.error = null;
      } catch (error) {
        this.error = error.message;
      }
      this.dispatchEvent(new Event('change'));
    } while (this.#again);
  }
}
