// Verdicts on their way to the ledger. Each is an entry of its own in the browser's storage until the ledger has it, so that
// neither a reload nor a server that is away loses one, and tabs do not overwrite each other's.
"use strict";

(() => {
  const AT_ONCE = 200;
  const SOON = 250;
  const FIRST_PAUSE = 1000;
  const LONGEST_PAUSE = 8000;

  class Queue {
    /**
     * @param source Records verdicts.
     * @param name Of the ledger and the reviewer: what others left in this browser is not ours.
     * @param listener Called with (count, problem) when either changes, and with refusals.
     */
    constructor(source, name, listener) {
      this.source = source;
      this.prefix = `prefect-imagen/${name}/`;
      this.listener = listener;
      this.memory = new Map(); // where the browser has no storage, or no room in it
      this.pause = FIRST_PAUSE;
      this.sending = false;
      this.timer = null;
      this.problem = "";
      window.addEventListener("online", () => this.flush());
      window.addEventListener("storage", () => this.tell());
      window.addEventListener("pagehide", () => this.flush({ keepalive: true }));
    }

    /** What this browser keeps under a prefix, in the order in which it was said. */
    static kept(prefix, more = []) {
      const found = [...more];
      for (const key of Object.keys(localStorage)) {
        if (!key.startsWith(prefix)) continue;
        try {
          found.push(JSON.parse(localStorage.getItem(key)));
        } catch {
          localStorage.removeItem(key);
        }
      }
      return found.sort((one, other) => (one.at < other.at ? -1 : one.at > other.at ? 1 : one.turn - other.turn));
    }

    entries() {
      return Queue.kept(this.prefix, this.memory.values());
    }

    get count() {
      const all = this.entries();
      return this.source.keepsVerdicts ? all.filter((verdict) => !verdict.saved).length : all.length;
    }

    /** Note that the user has all verdicts as a file. They stay, so that the page shows them. */
    markSaved() {
      for (const verdict of this.entries()) this.keep({ ...verdict, saved: true });
      this.tell();
    }

    keep(verdict) {
      try {
        localStorage.setItem(this.prefix + verdict.id, JSON.stringify(verdict));
      } catch {
        this.memory.set(verdict.id, verdict);
        this.problem = "this browser has no room to keep verdicts: leave the page open";
      }
    }

    add(verdicts) {
      for (const verdict of verdicts) this.keep(verdict);
      this.tell();
      this.later(SOON);
    }

    tell() {
      this.listener(this.count, this.problem);
    }

    later(milliseconds) {
      if (this.source.keepsVerdicts || this.timer !== null) return;
      this.timer = setTimeout(() => {
        this.timer = null;
        this.flush();
      }, milliseconds);
    }

    async flush(options = {}) {
      if (this.source.keepsVerdicts || this.sending) return;
      const batch = this.entries().slice(0, AT_ONCE);
      if (!batch.length) return;
      this.sending = true;
      try {
        const answer = await this.source.record(batch, options);
        for (const id of [...answer.recorded, ...Object.keys(answer.refused)]) this.drop(id);
        this.pause = FIRST_PAUSE;
        this.problem = "";
        this.listener(this.count, "", answer, batch);
        if (this.count) this.later(0);
      } catch (error) {
        this.problem = error.message;
        this.tell();
        this.later(this.pause);
        this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
      } finally {
        this.sending = false;
      }
    }

    drop(id) {
      this.memory.delete(id);
      localStorage.removeItem(this.prefix + id);
    }
  }

  window.Imagen.Queue = Queue;
})();
