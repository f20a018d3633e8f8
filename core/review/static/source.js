// Where pictures and verdicts come from: the server of `prefect-imagen review`.
// The files of `prefect-imagen gallery` bring a source of their own with the same methods and set it before the page starts.
"use strict";

window.Imagen = window.Imagen || {};

(() => {
  class Away extends Error {}
  class Refused extends Error {}

  async function ask(path, body, options = {}) {
    let response;
    try {
      response = await fetch(path, body === undefined ? options : {
        ...options,
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
    } catch {
      throw new Away("the server is away");
    }
    if (response.ok) return response.json();
    let problem = `the server answers ${response.status}`;
    try {
      problem = (await response.json()).problem || problem;
    } catch { /* not from our server: the status says enough */ }
    // What a later try may mend is kept and sent again: a restart, a database that is away, a login that ran out.
    throw response.status >= 500 || response.status === 401 ? new Away(problem) : new Refused(problem);
  }

  class ServerSource {
    keepsVerdicts = false;

    start(filters) {
      return ask(`api/start?${filters}`);
    }

    index(filters, after) {
      const query = new URLSearchParams(filters);
      if (after) query.set("after", after);
      return ask(`api/index?${query}`);
    }

    rows(ids) {
      return ask("api/rows", { ids });
    }

    record(verdicts, options) {
      return ask("api/verdicts", { verdicts }, options);
    }

    request(request) {
      return ask("api/requests", request);
    }

    news(after) {
      return ask(`api/news?after=${after}`);
    }

    choices() {
      return ask("api/choices");
    }

    thumbnail(row) {
      return `thumbnails/${row.sha256}.webp?image=${row.image_id}`;
    }

    picture(row) {
      return `pictures/${row.image_id}?${row.sha256}`;
    }

    /** Why a picture cannot be shown. */
    async problem(row) {
      try {
        await ask(this.thumbnail(row), undefined, { headers: { Accept: "application/json" } });
        return "this browser cannot show it";
      } catch (error) {
        return error.message;
      }
    }
  }

  Object.assign(window.Imagen, { Away, Refused, ServerSource });
})();
