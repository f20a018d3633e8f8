// The page: which pictures there are, which one has the focus, what the keys do to it.
"use strict";

(() => {
  const { Grid, Queue, Loupe, Comparison, ServerSource, WORDS, newId } = window.Imagen;
  const VERDICTS = ["none", "approved", "rejected"];
  const LETTERS = { n: 0, a: 1, r: 2 };
  const PAGE = 100; // rows that are asked for together
  const PAGES_KEPT = 40;
  const PAGES_AT_ONCE = 2;
  const NEWS = 2000; // milliseconds between two looks at what others say
  const PATIENCE = 1000; // milliseconds that the index waits for the first picture
  const UNKNOWN = 255;
  const MOST_SELECTED = 5000;
  const MOVES = {
    arrowleft: "left", h: "left", arrowright: "right", l: "right", arrowup: "up", k: "up", arrowdown: "down", j: "down",
    home: "home", end: "end", pageup: "pageup", pagedown: "pagedown",
  };
  const GROUPS = { item: "item_id", prompt: "prompt", duplicates: "duplicate_group" };
  const FORMS = ["edit", "note", "filters"];
  const byId = (id) => document.getElementById(id);

  class Desk {
    constructor(source) {
      this.source = source;
      this.ids = [];
      this.marks = new Uint8Array(0); // verdict + 4 × stars of each picture
      this.rows = new Map();
      this.pages = new Map(); // number of a page of rows → "asked" or "here"
      this.selected = new Set();
      this.anchor = 0;
      this.local = new Map(); // what is judged here and not yet on the ledger
      this.undone = [];
      this.problems = new Map();
      this.turn = 0;
      this.advances = true;
      this.generation = 0;
      this.recorded = 0; // how often the ledger has taken verdicts of this page
      this.counts = { approved: 0, rejected: 0, none: 0 };
      this.grid = new Grid(byId("grid"), byId("canvas"), (tile, index, moving) => this.fill(tile, index, moving));
      this.loupe = new Loupe(this);
      this.comparison = new Comparison(this);
      this.filters = new URLSearchParams(location.search);
      this.filters.delete("token");
    }

    // --- what there is -----------------------------------------------------------------------------------------------

    async open() {
      const generation = (this.generation += 1);
      const start = await this.patiently(() => this.source.start(String(this.filters)), generation);
      if (!start) return;
      this.start = start;
      this.heard = [start.last, start.last];
      this.readOnly = start.read_only;
      document.body.dataset.readOnly = this.readOnly;
      byId("title").textContent = start.title;
      document.title = start.title;
      byId("who").textContent = this.readOnly ? "read only" : start.reviewer;
      for (const button of document.querySelectorAll("[data-writes]")) button.disabled = this.readOnly;
      if (!this.queue) {
        this.queue = new Queue(this.source, `${start.ledger}/${start.reviewer || ""}`, (...told) => this.told(...told));
        this.queue.entries().forEach((verdict) => this.overlay(verdict));
      }
      this.ids = new Array(start.total);
      this.marks = new Uint8Array(start.total).fill(UNKNOWN);
      this.rows.clear();
      this.pages.clear();
      this.selected.clear();
      this.undone = [];
      this.counts = { ...start.counts };
      start.rows.forEach((row, at) => this.take(start.offset + at, row));
      this.grid.setTotal(start.total);
      this.grid.current = 0;
      this.anchor = 0;
      byId("empty").hidden = start.total > 0;
      byId("empty").textContent = start.empty || "No picture matches.";
      if (start.total) this.focus(start.at);
      this.showCounts();
      this.queue.tell();
      this.queue.flush();
      await this.firstPicture();
      await this.loadIndex(generation);
    }

    /** Ask until there is an answer; what is refused for good is said. */
    async patiently(question, generation) {
      for (let pause = 500; generation === this.generation; pause = Math.min(pause * 2, 8000)) {
        try {
          return await question();
        } catch (error) {
          this.say(error.message, true);
          if (!(error instanceof window.Imagen.Away)) return null;
        }
        await new Promise((resolve) => { setTimeout(resolve, pause); });
      }
      return null;
    }

    /** Until the picture in focus is there: where all the others are can wait for it, but not for long. */
    firstPicture() {
      const image = this.grid.tiles.get(this.grid.current)?.image;
      if (!image?.src || image.complete) return null;
      return new Promise((resolve) => {
        for (const end of ["load", "error"]) image.addEventListener(end, resolve, { once: true });
        setTimeout(resolve, PATIENCE);
      });
    }

    async loadIndex(generation) {
      let after = null;
      let at = 0;
      do {
        const key = after;
        const part = await this.patiently(() => this.source.index(String(this.filters), key), generation);
        if (!part || generation !== this.generation) return;
        if (at + part.ids.length > this.ids.length) this.grow(at + part.ids.length);
        for (let one = 0; one < part.ids.length; one += 1) {
          if (this.ids[at + one] !== part.ids[one]) this.rows.delete(at + one);
          this.ids[at + one] = part.ids[one];
          this.setMark(at + one, LETTERS[part.verdicts[one]] + 4 * Number(part.stars[one]));
        }
        at += part.ids.length;
        after = part.next;
        this.grid.render();
      } while (after);
      if (at !== this.grid.total) {
        this.ids.length = at;
        this.grid.setTotal(at);
        this.grid.current = Math.max(0, Math.min(this.grid.current, at - 1));
        this.grid.render();
      }
      this.recount();
    }

    /** Show what others have said, for as long as the page is looked at. */
    async listenToOthers() {
      const recorded = this.recorded;
      const { generation, heard } = this;
      if (!document.hidden && heard) {
        try {
          const news = await this.source.news(heard[0]);
          // What was recorded here meanwhile may not be in this answer: the next one has it.
          if (generation === this.generation && recorded === this.recorded) this.hear(news);
        } catch { /* what is away is said where verdicts are sent */ }
      }
      setTimeout(() => this.listenToOthers(), NEWS);
    }

    hear(news) {
      // Verdicts may appear a moment later than one with a higher number: each is asked for twice.
      this.heard = [this.heard[1], news.last];
      if (!news.rows.length) return;
      const said = new Map(news.rows.map((row) => [row.image_id, row]));
      let changed = false;
      this.ids.forEach((id, index) => {
        const row = said.get(id);
        if (!row) return;
        const before = this.marks[index];
        this.setMark(index, VERDICTS.indexOf(row.verdict) + 4 * row.stars);
        changed ||= before !== this.marks[index];
        const shown = this.rows.get(index);
        if (shown) Object.assign(shown, row, { review_reason: row.review_reason || "", review_note: row.review_note || "" });
      });
      if (!changed) return;
      this.recount();
      this.draw();
    }

    /** Count the verdicts of all pictures, once they are known. */
    recount() {
      const marks = this.marks.subarray(0, this.ids.length);
      if (marks.includes(UNKNOWN)) return;
      const counts = [0, 0, 0];
      for (const mark of marks) counts[mark & 3] += 1;
      VERDICTS.forEach((verdict, at) => { this.counts[verdict] = counts[at]; });
      this.showCounts();
    }

    grow(length) {
      const marks = new Uint8Array(length).fill(UNKNOWN);
      marks.set(this.marks);
      this.marks = marks;
      this.ids.length = length;
      this.grid.setTotal(length);
    }

    take(index, row) {
      this.ids[index] = row.image_id;
      this.rows.set(index, row);
      this.setMark(index, VERDICTS.indexOf(row.verdict) + 4 * row.stars);
    }

    setMark(index, mark) {
      const mine = this.local.get(this.ids[index]);
      const verdict = mine?.verdict ? VERDICTS.indexOf(mine.verdict) : mark & 3;
      this.marks[index] = verdict + 4 * (mine?.stars ?? mark >> 2);
    }

    /** Let what is on its way to the ledger show on top of what comes from there. */
    overlay(verdict) {
      const said = Object.entries(verdict).filter(([, value]) => value !== null);
      this.local.set(verdict.image_id, { ...this.local.get(verdict.image_id), ...Object.fromEntries(said) });
    }

    stateAt(index) {
      const mark = this.marks[index];
      return mark === UNKNOWN || mark === undefined ? { verdict: "none", stars: 0 } : { verdict: VERDICTS[mark & 3], stars: mark >> 2 };
    }

    /** The row of a picture, asked for if it is not here. */
    async rowAt(index) {
      if (!this.rows.has(index)) await this.loadPage(Math.floor(index / PAGE));
      return this.rows.get(index);
    }

    async loadPage(page) {
      const before = this.pages.get(page);
      if (before) return before;
      const first = page * PAGE;
      const ids = this.ids.slice(first, first + PAGE);
      if (!ids.length || ids.includes(undefined)) return null;
      const generation = this.generation;
      const asked = (async () => {
        try {
          const found = new Map((await this.source.rows(ids)).rows.map((row) => [row.image_id, row]));
          if (generation !== this.generation) return;
          ids.forEach((id, at) => {
            if (found.has(id) && this.ids[first + at] === id) this.take(first + at, found.get(id));
          });
          this.forget(page);
        } catch (error) {
          this.say(error.message);
          setTimeout(() => { this.pages.delete(page); this.grid.render(); }, 1000);
        }
        this.loading -= 1;
        this.grid.render();
      })();
      this.loading = (this.loading || 0) + 1;
      this.pages.set(page, asked);
      return asked;
    }

    /** Keep the rows around those that are looked at. */
    forget(page) {
      while (this.pages.size > PAGES_KEPT) {
        const [farthest] = [...this.pages.keys()].sort((one, other) => Math.abs(other - page) - Math.abs(one - page));
        this.pages.delete(farthest);
        for (let index = farthest * PAGE; index < (farthest + 1) * PAGE; index += 1) this.rows.delete(index);
      }
    }

    // --- what is shown -----------------------------------------------------------------------------------------------

    fill(tile, index, moving) {
      const id = this.ids[index];
      const row = this.rows.get(index);
      if (!row && id && !moving && (this.loading || 0) < PAGES_AT_ONCE) this.loadPage(Math.floor(index / PAGE));
      const isCurrent = index === this.grid.current;
      const isSelected = this.selected.has(index);
      const mark = this.marks[index];
      const problem = this.problems.get(id);
      const begins = row && this.beginsGroup(index, row);
      const key = `${id}|${row ? row.sha256 : ""}|${mark}|${isCurrent}|${isSelected}|${moving}|${problem || ""}|${row?.asked || ""}|${begins}`;
      if (tile.key === key) return;
      tile.key = key;
      if (id) tile.dataset.imageId = id;
      else delete tile.dataset.imageId;
      const { verdict, stars } = this.stateAt(index);
      tile.dataset.verdict = verdict;
      tile.dataset.stars = stars;
      tile.tabIndex = isCurrent ? 0 : -1;
      if (isCurrent) tile.setAttribute("aria-current", "true");
      else tile.removeAttribute("aria-current");
      tile.setAttribute("aria-selected", isSelected);
      const flags = row?.flags?.length ? `⚑ ${row.flags.join(", ")} ` : "";
      if (flags) tile.dataset.flags = flags;
      else delete tile.dataset.flags;
      if (row?.asked) tile.dataset.asked = "";
      else delete tile.dataset.asked;
      tile.toggleAttribute("data-begins", Boolean(begins));
      const about = [begins ? "new group" : "", row ? row.prompt : "loading", WORDS[verdict], stars ? `${stars} stars` : "", flags, problem || ""];
      tile.setAttribute("aria-label", about.filter(Boolean).join(", "));
      tile.caption.textContent = problem || (row ? row.prompt : "");
      tile.toggleAttribute("data-problem", Boolean(problem));
      const url = row && !problem ? this.source.thumbnail(row) : "";
      if (tile.url !== url && (!moving || !url)) {
        tile.url = url;
        if (!url) {
          tile.image.removeAttribute("src");
          return;
        }
        tile.image.onerror = () => this.broken(row);
        tile.image.src = url;
      }
    }

    /** Whether a picture is the first of its group, where pictures are grouped. */
    beginsGroup(index, row) {
      const field = GROUPS[this.filters.get("order")];
      if (!field) return false;
      const before = this.rows.get(index - 1);
      return index === 0 || Boolean(before && (before[field] !== row[field] || !row[field]));
    }

    async broken(row) {
      this.problems.set(row.image_id, await this.source.problem(row));
      this.grid.render();
    }

    draw() {
      this.grid.render();
      if (this.loupe.open) this.loupe.draw();
      if (this.comparison.open) this.comparison.draw();
    }

    showCounts() {
      const { approved, rejected, none } = this.counts;
      byId("counts").textContent = `${none} to review · ${approved} approved · ${rejected} rejected`;
    }

    say(text, lasting = false) {
      byId("status").textContent = text;
      clearTimeout(this.sayTimer);
      if (!lasting) this.sayTimer = setTimeout(() => { byId("status").textContent = ""; }, 4000);
    }

    told(count, problem, answer, batch) {
      const number = document.querySelector("[data-unsent]");
      number.dataset.unsent = count;
      number.textContent = count;
      byId("away").textContent = problem ? `: ${problem}` : "";
      if (problem && problem !== this.problem) this.say(`${problem}: verdicts are kept in this browser`);
      this.problem = problem;
      if (!answer) return;
      this.recorded += 1;
      for (const verdict of batch) {
        // Only what is still the newest of this picture: another one may be on its way.
        if (this.local.get(verdict.image_id)?.id === verdict.id) this.local.delete(verdict.image_id);
      }
      const refused = Object.values(answer.refused);
      if (refused.length) this.say(`${refused.length} not recorded: ${refused[0]}`, true);
    }

    // --- focus and selection -----------------------------------------------------------------------------------------

    focus(index) {
      const before = this.grid.current;
      this.grid.current = Math.max(0, Math.min(this.grid.total - 1, index));
      this.grid.reveal(this.grid.current);
      if (before !== this.grid.current || document.activeElement === document.body) this.focusGrid();
      if (this.loupe.open) this.loupe.draw();
      if (this.comparison.open) this.comparison.draw();
    }

    focusGrid(always = false) {
      if (document.querySelector("dialog[open]") || (!always && document.activeElement === byId("search"))) return;
      this.grid.tiles.get(this.grid.current)?.focus({ preventScroll: true });
    }

    returnFocus() {
      if (this.loupe.open) this.loupe.stage?.focus();
      else if (this.comparison.open) this.comparison.draw();
      else this.focusGrid();
    }

    move(where, event) {
      const { current, total, columns } = this.grid;
      const screen = columns * Math.max(1, Math.floor(this.grid.scroller.clientHeight / this.grid.rowHeight));
      const rowStep = this.loupe.open ? 1 : columns;
      const steps = { left: -1, right: 1, up: -rowStep, down: rowStep, pageup: -screen, pagedown: screen, home: -current, end: total - 1 - current };
      let next = current + steps[where];
      if (next < 0 || next >= total) next = where === "up" || where === "down" ? current : Math.max(0, Math.min(total - 1, next));
      if (event.shiftKey && !this.loupe.open) this.selectRange(this.selected.size ? this.anchor : current, next);
      else if (!event.ctrlKey && !event.metaKey) this.selectNone(next);
      this.focus(next);
    }

    selectNone(anchor) {
      this.selected.clear();
      this.anchor = anchor;
      this.grid.render();
    }

    selectRange(from, to) {
      this.anchor = from;
      this.selected = new Set();
      const first = Math.min(from, to);
      const last = Math.min(Math.max(from, to), first + MOST_SELECTED - 1);
      if (last < Math.max(from, to)) this.say(`${MOST_SELECTED} can be selected at once`);
      for (let index = first; index <= last; index += 1) this.selected.add(index);
    }

    toggle(index) {
      if (!this.selected.size && this.grid.current !== index) this.selected.add(this.grid.current);
      if (!this.selected.delete(index)) this.selected.add(index);
      this.anchor = index;
    }

    /** The pictures that an action is for: the selected ones, else the one in focus. */
    get targets() {
      if (this.loupe.open || this.comparison.open || !this.selected.size) return [this.grid.current];
      return [...this.selected].sort((one, other) => one - other);
    }

    /** Whether what the keys would hit is in sight; if not it is brought there, and nothing else happens. */
    get inSight() {
      if (this.loupe.open || this.comparison.open || this.grid.inView(this.grid.current)) return true;
      this.focus(this.grid.current);
      this.say("back at the picture in focus");
      return false;
    }

    // --- verdicts ----------------------------------------------------------------------------------------------------

    async judge(change, { advance = false } = {}) {
      if (this.readOnly || !this.grid.total || !this.inSight) return;
      const targets = this.targets;
      const missing = targets.filter((index) => !this.rows.has(index));
      if (advance && this.advances) this.advance(targets);
      if (missing.length) {
        const generation = this.generation;
        // One after the other: a selection of thousands must not ask for all at once.
        for (const index of missing) await this.rowAt(index);
        if (generation !== this.generation) return;
      }
      const known = targets.filter((index) => this.rows.has(index));
      if (known.length < targets.length) this.say(`${targets.length - known.length} pictures could not be loaded and have no verdict yet`, true);
      this.record(known.map((index) => [index, change]), true);
      const now = change.verdict ? WORDS[change.verdict] : change.stars === undefined ? "noted" : `${change.stars} stars`;
      this.say(known.length > 1 ? `${now}: ${known.length} pictures` : now);
    }

    whole(index) {
      const row = this.rows.get(index);
      const { reason, note } = { reason: row?.review_reason || "", note: row?.review_note || "", ...this.local.get(this.ids[index]) };
      return { ...this.stateAt(index), reason, note };
    }

    /** Say something new about pictures: [index, what is new]. What is not said stays as it is, whoever said it. */
    record(changes, undoable = false) {
      const at = new Date().toISOString();
      const step = [];
      const verdicts = changes.map(([index, change]) => {
        const row = this.rows.get(index);
        const before = this.whole(index);
        // A reason belongs to its verdict.
        const changed = change.verdict ? { reason: "", ...change } : change;
        const after = { ...before, ...changed };
        step.push([index, Object.fromEntries(Object.keys(changed).map((name) => [name, before[name]]))]);
        const nothing = { verdict: null, stars: null, reason: null, note: null };
        const verdict = { id: newId(), image_id: row.image_id, sha256: row.sha256, ...nothing, ...changed, at, turn: (this.turn += 1) };
        this.counts[before.verdict] -= 1;
        this.counts[after.verdict] += 1;
        this.marks[index] = VERDICTS.indexOf(after.verdict) + 4 * after.stars;
        Object.assign(row, { review_reason: after.reason, review_note: after.note });
        this.overlay(verdict);
        return verdict;
      });
      if (undoable) this.undone.push(step);
      this.queue.add(verdicts);
      this.showCounts();
      this.draw();
    }

    advance(targets) {
      const last = targets.at(-1);
      this.selected.clear();
      if (this.comparison.open) this.comparison.move(1);
      else this.focus(Math.min(last + 1, this.grid.total - 1));
    }

    async undo() {
      if (this.readOnly) return;
      const step = this.undone.pop();
      if (!step) {
        this.say("nothing to undo");
        return;
      }
      for (const [index] of step) await this.rowAt(index);
      this.record(step.filter(([index]) => this.rows.has(index)));
      this.focus(step[0][0]);
      this.say("undone");
    }

    annotate(row, change) {
      this.record([[this.ids.indexOf(row.image_id), change]], true);
      this.say("noted");
    }

    async request(row, change) {
      try {
        const answer = await this.source.request({ id: newId(), image_id: row.image_id, sha256: row.sha256, ...change });
        row.asked = answer.asked;
        this.say(answer.message);
        this.draw();
      } catch (error) {
        this.say(`not asked for: ${error.message}`, true);
      }
    }

    // --- actions -----------------------------------------------------------------------------------------------------

    async act(action) {
      switch (action) {
        case "approved":
        case "rejected":
        case "none":
          await this.judge({ verdict: action }, { advance: true });
          break;
        case "loupe":
          if (this.loupe.open) this.loupe.dialog.close();
          else if (this.grid.total && !this.comparison.open) {
            this.focus(this.grid.current);
            this.loupe.show();
          }
          break;
        case "compare":
          await this.compare();
          break;
        case "regenerate":
        case "edit":
        case "note":
          await this.ask(action);
          break;
        case "undo":
          await this.undo();
          break;
        case "save":
          this.source.save(this);
          break;
        case "help":
          window.Imagen.help(this);
          break;
        default:
          break;
      }
    }

    async ask(action) {
      if (this.readOnly || !this.grid.total || !this.inSight) return;
      if (action !== "note" && !this.source.request) return;
      const index = this.grid.current;
      const row = await this.rowAt(index);
      if (!row) return;
      if (action === "edit") window.Imagen.editPrompt(this, row);
      else if (action === "note") window.Imagen.note(this, row, this.whole(index));
      else for (const target of this.targets) await this.request(await this.rowAt(target), {});
    }

    async compare() {
      if (this.comparison.open) {
        this.comparison.dialog.close();
        return;
      }
      if (this.loupe.open || !this.grid.total || !this.inSight) return;
      let chosen = this.targets;
      if (chosen.length === 1) {
        const [one] = chosen;
        chosen = await this.relatives(one);
        if (chosen.length < 2) chosen = one + 1 < this.grid.total ? [one, one + 1] : [Math.max(0, one - 1), one];
      }
      if (chosen.length > 6) this.say("the first 6 of the selected are compared");
      await this.comparison.show([...new Set(chosen)].slice(0, 6));
    }

    /** A picture with the one it was made in place of, and those that were made in its place, the oldest first. */
    async relatives(index) {
      const row = await this.rowAt(index);
      const ids = [row?.parent_image_id, row?.image_id, ...(row?.replaced_by || [])];
      return ids.map((id) => (id ? this.ids.indexOf(id) : -1)).filter((at) => at >= 0);
    }

    filter(values, whole = false) {
      const next = whole ? new URLSearchParams() : new URLSearchParams(this.filters);
      if (whole && this.filters.get("text")) next.set("text", this.filters.get("text"));
      for (const [name, value] of Object.entries(values)) {
        if (value) next.set(name, value);
        else next.delete(name);
      }
      if (String(next) === String(this.filters)) return;
      this.filters = next;
      // A page from a disk must not change its address.
      if (location.protocol !== "file:") history.replaceState(null, "", `${location.pathname}${String(next) ? `?${next}` : ""}`);
      this.open();
    }

    // --- keys and mouse ----------------------------------------------------------------------------------------------

    key(event) {
      if (event.isComposing || event.altKey || FORMS.some((id) => byId(id).open)) return;
      let key = event.key.toLowerCase();
      // On a keyboard of another script the place of the key counts.
      if (key.length === 1 && key > "~" && event.code.startsWith("Key")) key = event.code[3].toLowerCase();
      if (byId("help").open) {
        if (key === "?") byId("help").close();
        return;
      }
      const search = byId("search");
      if (event.target === search) {
        if (["enter", "escape", "arrowdown"].includes(key)) {
          event.preventDefault();
          if (key !== "escape") this.filter({ text: search.value.trim() });
          this.focusGrid(true);
          if (document.activeElement === search) search.blur();
        }
        return;
      }
      const onButton = event.target.closest?.("button");
      if (onButton && (key === " " || key === "enter")) return;
      if (this.command(key, event)) event.preventDefault();
    }

    /** Do what a key stands for; whether it stands for anything. */
    command(key, event) {
      if (event.ctrlKey || event.metaKey) {
        if (key === "z" && !event.shiftKey) this.act("undo");
        else if (key === "a" && !this.loupe.open && !this.comparison.open) {
          this.selectRange(0, this.grid.total - 1);
          this.grid.render();
        } else if (key === " ") {
          this.toggle(this.grid.current);
          this.grid.render();
        } else if (MOVES[key] && key.startsWith("arrow")) this.move(MOVES[key], event);
        else return false;
        return true;
      }
      if (MOVES[key]) {
        if (this.comparison.open) this.comparison.move(["left", "up", "pageup", "home"].includes(MOVES[key]) ? -1 : 1);
        else if (this.grid.total) this.move(MOVES[key], event);
        return true;
      }
      if (/^[0-5]$/.test(key)) {
        this.judge({ stars: Number(key) });
        return true;
      }
      const actions = { p: "approved", x: "rejected", u: "none", " ": "loupe", enter: "loupe", c: "compare", r: "regenerate", e: "edit", n: "note", "?": "help" };
      if (actions[key]) {
        if (!event.repeat || "pxu".includes(key)) this.act(actions[key]);
        return true;
      }
      if (key === "z" && (this.loupe.open || this.comparison.open)) (this.loupe.open ? this.loupe : this.comparison).zoom();
      else if (key === "/" && !document.querySelector("dialog[open]")) byId("search").select();
      else if (key === "f" && !document.querySelector("dialog[open]")) window.Imagen.filters(this);
      else if (key === "escape" && !document.querySelector("dialog[open]")) this.selectNone(this.grid.current);
      else return false;
      return true;
    }

    click(event) {
      const index = this.grid.indexOf(event.target);
      if (index < 0) return;
      if (event.shiftKey) this.selectRange(this.selected.size ? this.anchor : this.grid.current, index);
      else if (event.ctrlKey || event.metaKey) this.toggle(index);
      else this.selected.clear();
      if (!event.shiftKey && !event.ctrlKey && !event.metaKey) this.anchor = index;
      this.focus(index);
      this.focusGrid(true);
    }

    listen() {
      document.addEventListener("keydown", (event) => this.key(event));
      byId("grid").addEventListener("click", (event) => this.click(event));
      byId("grid").addEventListener("dblclick", () => this.act("loupe"));
      document.querySelector("footer").addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (button) this.act(button.dataset.action);
      });
      byId("filter-button").addEventListener("click", () => window.Imagen.filters(this));
      const search = byId("search");
      search.value = this.filters.get("text") || "";
      let timer = null;
      search.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(() => this.filter({ text: search.value.trim() }), 400);
      });
    }
  }

  function begin() {
    const source = window.Imagen.source || new ServerSource();
    const desk = new Desk(source);
    if (!source.request) for (const button of document.querySelectorAll("[data-server]")) button.hidden = true;
    if (source.keepsVerdicts) {
      document.querySelector('[data-action="save"]').hidden = false;
      byId("word").textContent = source.word;
    }
    desk.listen();
    desk.open();
    if (source.news) desk.listenToOthers();
    window.Imagen.desk = desk;
  }

  begin();
})();
