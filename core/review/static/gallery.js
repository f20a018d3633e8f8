// The page without a server: pictures and what is known of them are files beside it, verdicts stay in the browser until they
// are saved as a file for `prefect-imagen verdicts --apply`. Data are scripts, since a page from a disk may read nothing else.
"use strict";

(() => {
  const { make, newId } = window.Imagen;
  const data = window.Imagen.data;
  const waiting = new Map();

  window.Imagen.part = (name, content) => waiting.get(name)?.(content);

  function load(name) {
    return new Promise((resolve, reject) => {
      const script = make("script", { src: `data/${name}.js` });
      script.onerror = () => reject(new window.Imagen.Refused(`data/${name}.js is not beside this page`));
      waiting.set(name, (content) => {
        waiting.delete(name);
        script.remove();
        resolve(content);
      });
      document.head.append(script);
    });
  }

  class Gallery {
    keepsVerdicts = true;
    word = "unsaved";

    constructor() {
      this.prefix = `prefect-imagen/${data.ledger}/`;
      this.chunks = new Map();
      this.place = new Map(data.ids.map((id, at) => [id, at]));
    }

    async start(filters) {
      this.shown = await this.matching(new URLSearchParams(filters));
      const counts = { approved: 0, rejected: 0, none: 0 };
      const names = { a: "approved", r: "rejected", n: "none" };
      const mine = this.mine();
      let at = -1;
      this.shown.forEach((one, place) => {
        const verdict = mine.get(data.ids[one])?.verdict || names[data.verdicts[one]];
        counts[verdict] += 1;
        if (at < 0 && verdict === "none") at = place;
      });
      at = Math.max(0, at);
      const offset = Math.max(0, at - 50);
      const { rows } = await this.rows(this.shown.slice(offset, at + 100).map((one) => data.ids[one]));
      return { ...data.about, ledger: data.ledger, reviewer: "", read_only: false, total: this.shown.length, at, offset, rows, counts };
    }

    async index() {
      const pick = (text) => this.shown.map((one) => text[one]).join("");
      return { ids: this.shown.map((one) => data.ids[one]), verdicts: pick(data.verdicts), stars: pick(data.stars), next: null };
    }

    async rows(ids) {
      const places = ids.map((id) => this.place.get(id)).filter((place) => place !== undefined);
      const numbers = [...new Set(places.map((place) => Math.floor(place / data.chunk)))];
      await Promise.all(numbers.map((number) => this.chunk(number)));
      const rows = await Promise.all(places.map(async (place) => (await this.chunk(Math.floor(place / data.chunk)))[place % data.chunk]));
      return { rows: rows.map((row) => ({ ...row })) };
    }

    chunk(number) {
      if (!this.chunks.has(number)) {
        if (this.chunks.size > 20) this.chunks.delete(this.chunks.keys().next().value);
        this.chunks.set(number, load(`rows-${number}`));
      }
      return this.chunks.get(number);
    }

    /** What was said here, by image, the last of each kind. */
    mine() {
      const found = new Map();
      for (const verdict of window.Imagen.Queue.kept(this.prefix)) {
        const said = Object.entries(verdict).filter(([, value]) => value !== null);
        found.set(verdict.image_id, { ...found.get(verdict.image_id), ...Object.fromEntries(said) });
      }
      return found;
    }

    /** Places of the pictures that match. */
    async matching(filters) {
      const all = data.ids.map((_, at) => at);
      if (![...filters.values()].some(Boolean)) return all;
      this.columns ||= await load("columns");
      const mine = this.mine();
      const verdict = filters.get("verdict");
      const text = (filters.get("text") || "").toLowerCase();
      const { prompts, values, of } = this.columns;
      return all.filter((at) => {
        const said = mine.get(data.ids[at]);
        if (verdict && (said?.verdict?.[0] || data.verdicts[at]) !== verdict[0]) return false;
        if (filters.get("stars") && (said?.stars ?? Number(data.stars[at])) < Number(filters.get("stars"))) return false;
        if (text && !prompts[at].toLowerCase().includes(text)) return false;
        const flags = values.flags[of.flags[at]];
        const flag = filters.get("flag");
        if (flag && !(flag === "any" ? flags : flag === "none" ? !flags : ` ${flags} `.includes(` ${flag} `))) return false;
        return ["run", "edition", "model"].every((name) => !filters.get(name) || values[name][of[name][at]] === filters.get(name));
      });
    }

    async choices() {
      this.columns ||= await load("columns");
      const { values } = this.columns;
      const flags = new Set(values.flags.flatMap((text) => text.split(" ")).filter(Boolean));
      return {
        fields: ["verdict", "stars", "flag", "run", "edition", "model"],
        flags: flags.size ? ["any", "none", ...flags] : [],
        runs: values.run,
        editions: values.edition.filter(Boolean),
        models: values.model,
      };
    }

    thumbnail(row) {
      return `thumbnails/${row.sha256}.webp`;
    }

    picture(row) {
      return row.file || this.thumbnail(row);
    }

    async problem() {
      return "its file is not beside this page";
    }

    /** Give all verdicts to the user as a file. */
    save(desk) {
      const dialog = document.getElementById("note");
      const name = make("input", { type: "text", required: true, maxLength: 200, value: localStorage.getItem("prefect-imagen-reviewer") || "" });
      window.Imagen.form(desk, dialog, "Save verdicts", [
        make("label", {}, make("span", {}, "Your name"), name),
        make("p", {}, "The file is taken in by prefect-imagen verdicts --apply FILE. The same verdicts may be saved again."),
      ], "Save", () => {
        localStorage.setItem("prefect-imagen-reviewer", name.value.trim());
        const lines = desk.queue.entries().map(({ turn, saved, ...verdict }) => JSON.stringify({ ledger: data.ledger, reviewer: name.value.trim(), ...verdict }));
        const file = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "application/x-ndjson" }));
        make("a", { href: file, download: `verdicts-${data.ledger.slice(0, 8)}-${newId().slice(0, 6)}.jsonl` }).click();
        setTimeout(() => URL.revokeObjectURL(file), 10_000);
        desk.queue.markSaved();
        desk.say(`${lines.length} verdicts saved as a file`);
      });
      name.focus();
    }
  }

  window.Imagen.source = new Gallery();
})();
