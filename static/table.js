/**
 * A table of keyed rows: sorted, filtered, updated in place. Knows nothing of what the rows mean (columns.js does).
 *
 * Smooth with a thousand rows: a row's elements live as long as the row, a cell is painted only when one of the fields it
 * shows changed, and rows move only when their order did, at most once a second, so that they do not jump under the eye.
 */

import { arrange, element, setAttribute } from "./dom.js";

const ORDER_EVERY_MS = 1_000;

/**
 * @typedef {object} Column
 * @property {string} id also the cells' class
 * @property {string} title
 * @property {string} [hint] what hovering over the title tells
 * @property {boolean} [head] the cell that names its row
 * @property {boolean} [label] where rows are cards, the cell bears the title
 * @property {string[]} fields of the row that a cell shows: it is painted when one of them changed
 * @property {(row: object) => number | string | undefined} value to sort by; undefined goes last, ±Infinity where it says
 * @property {(cell: HTMLElement) => void} [build] makes what is in a new cell
 * @property {(cell: HTMLElement, row: object, before: object | undefined) => void} paint
 * @property {1 | -1} [first] direction of the first click: 1 ascending
 */

export class LiveTable {
  #table;
  #body;
  #columns;
  #onSort;
  #decorate;
  #words;
  #lines = new Map(); // id → {node, cells, row}
  #sort;
  #needle = [];
  #orderDue = true;
  #orderedAt = -Infinity;

  /**
   * @param {HTMLTableElement} table with an empty thead and tbody
   * @param {object} options
   * @param {Column[]} options.columns
   * @param {{column: string, direction: 1 | -1}} options.sort
   * @param {(node: HTMLElement, row: object) => void} options.decorate marks a whole row
   * @param {(row: object) => string} options.words what a filter searches, lower case
   * @param {(sort: object) => void} [options.onSort] the reader chose another order
   */
  constructor(table, { columns, sort, decorate, words, onSort = () => {} }) {
    this.#table = table;
    this.#body = table.tBodies[0];
    this.#columns = columns;
    this.#sort = sort;
    this.#decorate = decorate;
    this.#words = words;
    this.#onSort = onSort;
    this.#buildHead();
  }

  get sort() {
    return this.#sort;
  }

  /** Sort by a column; without a direction the second time turns it round. */
  sortBy(id, direction) {
    const column = this.#columns.find((each) => each.id === id);
    const turned = this.#sort.column === id ? -this.#sort.direction : (column.first ?? 1);
    this.#sort = { column: id, direction: direction ?? turned };
    this.#markHead();
    this.#orderDue = true;
    this.#orderedAt = -Infinity;
    this.#onSort(this.#sort);
  }

  /** Show only rows that contain every word of `text`. */
  filter(text) {
    this.#needle = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.#orderDue = true;
    this.#orderedAt = -Infinity;
  }

  /**
   * Bring the page to these rows.
   *
   * @param {Map<string, object>} rows
   * @param {Set<string>} changed ids that came, changed or went
   * @param {number} now ms
   * @returns {number} how many rows are shown. An order that is not made yet is made by a later call: call every second.
   */
  update(rows, changed, now) {
    for (const id of changed) {
      const row = rows.get(id);
      if (row === undefined) this.#forget(id);
      else this.#paint(id, row);
    }
    if (changed.size > 0) this.#orderDue = true;
    if (this.#orderDue && now - this.#orderedAt >= ORDER_EVERY_MS) this.#arrange(now);
    return this.#body.rows.length;
  }

  #forget(id) {
    const line = this.#lines.get(id);
    if (line === undefined) return;
    this.#lines.delete(id);
    line.node.remove();
  }

  #paint(id, row) {
    let line = this.#lines.get(id);
    if (line === undefined) {
      line = this.#build(id);
      this.#lines.set(id, line);
      this.#orderedAt = -Infinity; // a new row is shown at once
    }
    const before = line.row;
    line.row = row;
    for (const [place, { fields, paint }] of this.#columns.entries()) {
      if (before === undefined || fields.some((field) => before[field] !== row[field])) {
        paint(line.cells[place], row, before);
      }
    }
    this.#decorate(line.node, row);
  }

  #build(id) {
    const cells = this.#columns.map((column) => {
      const cell = element(column.head ? "th" : "td", {
        class: column.id,
        role: column.head ? "rowheader" : "cell",
        scope: column.head ? "row" : undefined,
        "data-label": column.label ? column.title : undefined,
      });
      column.build?.(cell);
      return cell;
    });
    return { node: element("tr", { role: "row", "data-id": id }, ...cells), cells, row: undefined };
  }

  #arrange(now) {
    this.#orderDue = false;
    this.#orderedAt = now;
    const { value } = this.#columns.find((column) => column.id === this.#sort.column);
    const lines = [];
    for (const [id, line] of this.#lines) {
      if (this.#matches(line.row)) lines.push({ id, node: line.node, value: value(line.row) });
    }
    lines.sort((a, b) => compare(a, b, this.#sort.direction));
    arrange(this.#body, lines.map((line) => line.node));
  }

  #matches(row) {
    if (this.#needle.length === 0) return true;
    const words = this.#words(row);
    return this.#needle.every((word) => words.includes(word));
  }

  #buildHead() {
    const heads = this.#columns.map(({ id, title, hint }) => {
      const button = element("button", { type: "button", title: hint }, title);
      button.addEventListener("click", () => this.sortBy(id));
      return element("th", { class: id, scope: "col", role: "columnheader", "data-column": id }, button);
    });
    this.#table.tHead.replaceChildren(element("tr", { role: "row" }, ...heads));
    this.#markHead();
  }

  #markHead() {
    for (const head of this.#table.tHead.rows[0].cells) {
      const sorted = head.dataset.column === this.#sort.column;
      setAttribute(head, "aria-sort", sorted ? (this.#sort.direction > 0 ? "ascending" : "descending") : undefined);
    }
  }
}

/** Order by value, the unknown last in either direction, equals by id so that they stay where they are. */
export function compare(a, b, direction) {
  if (a.value !== b.value) {
    if (a.value === undefined) return 1;
    if (b.value === undefined) return -1;
    return a.value < b.value ? -direction : direction;
  }
  return a.id < b.id ? -1 : 1;
}
