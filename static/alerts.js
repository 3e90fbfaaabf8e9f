/** What fires: one line an alert, the worst first, with a button to take note of it. */

import { element, keyed, setAttribute, setText } from "./dom.js";
import { age } from "./format.js";

const SEVERITIES = ["critical", "error", "warning", "info"];
// Lines shown; the rest is counted. On a phone the positions must stay in sight.
const MOST = { wide: 8, narrow: 3 };
const NARROW = matchMedia("(max-width: 600px)");

/** Return the alerts that fire: those that nobody took note of first, then by severity, the oldest last. */
export function firing(rows) {
  const found = [...rows].filter(([, row]) => row.state === "firing");
  const rank = (row) => [row.acknowledged ? 1 : 0, SEVERITIES.indexOf(row.severity), -row.since];
  return found.sort(([a, one], [b, other]) => {
    const [x, y] = [rank(one), rank(other)];
    const place = x.findIndex((part, number) => part !== y[number]);
    return place < 0 ? (a < b ? -1 : 1) : x[place] - y[place];
  });
}

/** The strip of firing alerts; hidden while there are none. */
export class Alerts {
  #root;
  #list;
  #count;
  #lines = new Map();
  #acknowledge;

  /** @param {(id: string) => Promise<boolean>} acknowledge resolves to whether it was taken */
  constructor(root, acknowledge) {
    this.#root = root;
    this.#list = root.querySelector("ul");
    this.#count = root.querySelector(".count");
    this.#acknowledge = acknowledge;
  }

  /** @param {number} now the gateway's clock, ms */
  update(rows, now) {
    const found = firing(rows);
    const most = NARROW.matches ? MOST.narrow : MOST.wide;
    const shown = found.slice(0, most);
    this.#root.hidden = found.length === 0;
    setText(this.#count, found.length > most ? `${found.length}, the first ${most} here` : String(found.length));
    keyed(this.#list, this.#lines, shown.map(([id]) => id), (id) => this.#make(id));
    for (const [id, row] of shown) paint(this.#lines.get(id), row, now);
  }

  #make(id) {
    const part = (name) => element("span", { class: name });
    const parts = { severity: part("severity"), message: part("message"), since: part("since") };
    const button = element("button", { type: "button" }, "Acknowledge");
    const line = { node: element("li", { class: "alert" }, ...Object.values(parts), button), button, ...parts, failed: false };
    button.addEventListener("click", async () => {
      button.disabled = true;
      line.failed = !(await this.#acknowledge(id));
      button.disabled = false;
      if (line.failed) setText(button, "Failed, again");
    });
    return line;
  }
}

function paint(line, row, now) {
  setAttribute(line.node, "data-severity", row.severity);
  setText(line.severity, row.severity);
  setText(line.message, row.message);
  const quiet = row.silenced_until === undefined ? "" : ", silenced";
  setText(line.since, `${age(now - row.since)}${row.acknowledged ? ", acknowledged" : quiet}`);
  line.button.hidden = row.acknowledged;
}

/** Take note of an alert, through the gateway that served this page. */
export async function acknowledge(id) {
  try {
    const answer = await fetch(`v1/alerts/${encodeURIComponent(id)}/ack`, { method: "POST" });
    return answer.ok;
  } catch {
    return false;
  }
}
