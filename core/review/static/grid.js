// A grid of any number of tiles by arithmetic: all are of one size, and only those in view, some rows around them and the one
// in focus are in the document.
"use strict";

(() => {
  const GAP = 8;
  const WIDTH = 190; // of a tile at least; two columns on the narrowest screens
  const CAPTION = 26;
  const SPARE_ROWS = 2;
  const TALLEST = 30_000_000; // browsers cut off what is taller than about 33 million pixels
  const SETTLED = 90;

  class Grid {
    /**
     * @param scroller The element that scrolls.
     * @param canvas Its one child.
     * @param fill Called with (tile, index, moving) to fill a tile; `moving` while the user scrolls fast.
     */
    constructor(scroller, canvas, fill) {
      Object.assign(this, { scroller, canvas, fill });
      this.total = 0;
      this.current = 0;
      this.tiles = new Map();
      this.spare = [];
      this.lastTop = 0;
      this.timer = null;
      scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
      new ResizeObserver(() => this.resize()).observe(scroller);
      this.resize();
    }

    resize() {
      const width = this.scroller.clientWidth - GAP;
      this.columns = Math.max(2, Math.floor(width / (WIDTH + GAP)));
      this.tileWidth = Math.floor(width / this.columns) - GAP;
      this.rowHeight = this.tileWidth + CAPTION + GAP;
      const anchor = this.current;
      this.layout();
      for (const tile of this.tiles.values()) tile.place = "";
      this.reveal(anchor);
    }

    layout() {
      this.height = Math.ceil(this.total / this.columns) * this.rowHeight + GAP;
      this.canvas.style.height = `${Math.min(this.height, TALLEST)}px`;
    }

    setTotal(total) {
      this.total = total;
      this.layout();
    }

    /** Pixels above the window, in the whole height. Beyond the tallest element a pixel of the bar stands for several. */
    get top() {
      const room = Math.min(this.height, TALLEST) - this.scroller.clientHeight;
      const whole = this.height - this.scroller.clientHeight;
      return room > 0 && whole > room ? (this.scroller.scrollTop / room) * whole : this.scroller.scrollTop;
    }

    set top(value) {
      const room = Math.min(this.height, TALLEST) - this.scroller.clientHeight;
      const whole = this.height - this.scroller.clientHeight;
      this.scroller.scrollTop = room > 0 && whole > room ? (value / whole) * room : value;
    }

    scrolled() {
      const top = this.top;
      const moving = Math.abs(top - this.lastTop) > this.scroller.clientHeight;
      this.lastTop = top;
      this.render(moving);
      clearTimeout(this.timer);
      if (moving) this.timer = setTimeout(() => this.render(), SETTLED);
    }

    /** First and last index in view. */
    window(spare = 0) {
      const first = Math.floor(this.top / this.rowHeight) - spare;
      const last = Math.floor((this.top + this.scroller.clientHeight) / this.rowHeight) + spare;
      return [Math.max(0, first * this.columns), Math.min(this.total - 1, (last + 1) * this.columns - 1)];
    }

    inView(index) {
      const top = Math.floor(index / this.columns) * this.rowHeight;
      return top + this.rowHeight > this.top + 1 && top < this.top + this.scroller.clientHeight - 1;
    }

    reveal(index) {
      const top = Math.floor(index / this.columns) * this.rowHeight;
      const bottom = top + this.rowHeight + GAP;
      if (top < this.top) this.top = top;
      else if (bottom > this.top + this.scroller.clientHeight) this.top = bottom - this.scroller.clientHeight;
      this.lastTop = this.top;
      this.render();
    }

    render(moving = false) {
      const [first, last] = this.window(SPARE_ROWS);
      for (const [index, tile] of this.tiles) {
        if ((index < first || index > last) && index !== this.current) {
          this.tiles.delete(index);
          this.spare.push(tile);
        }
      }
      for (let index = first; index <= last; index += 1) this.show(index, moving);
      if (this.current < this.total) this.show(this.current, moving);
      for (const tile of this.spare.splice(0)) tile.remove();
    }

    show(index, moving) {
      let tile = this.tiles.get(index);
      if (!tile) {
        tile = this.spare.pop() || this.make();
        this.tiles.set(index, tile);
        tile.setAttribute("aria-posinset", index + 1);
      }
      if (!tile.isConnected) this.canvas.append(tile);
      const scale = this.height > TALLEST ? this.scroller.scrollTop - this.top : 0;
      const left = GAP + (index % this.columns) * (this.tileWidth + GAP);
      const top = GAP + Math.floor(index / this.columns) * this.rowHeight + scale;
      const place = `translate(${left}px, ${top}px)`;
      if (tile.place !== place) {
        tile.place = place;
        tile.style.transform = place;
        tile.style.width = `${this.tileWidth}px`;
        tile.style.height = `${this.rowHeight - GAP}px`;
      }
      tile.setAttribute("aria-setsize", this.total);
      this.fill(tile, index, moving);
    }

    make() {
      const tile = document.createElement("div");
      tile.className = "tile";
      tile.setAttribute("role", "option");
      const image = document.createElement("img");
      image.alt = "";
      image.draggable = false;
      image.decoding = "async";
      const caption = document.createElement("span");
      tile.append(image, caption);
      Object.assign(tile, { image, caption });
      return tile;
    }

    indexOf(element) {
      const tile = element.closest(".tile");
      return tile ? Number(tile.getAttribute("aria-posinset")) - 1 : -1;
    }
  }

  window.Imagen.Grid = Grid;
})();
