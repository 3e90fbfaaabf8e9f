/** The dashboard: which tables are subscribed, and which part of the page shows which of them. */

import { acknowledge, Alerts } from "./alerts.js";
import { COLUMNS, decorate, words } from "./columns.js";
import { Connection } from "./connection.js";
import { element, setText } from "./dom.js";
import { Accounts, Feeds, Gateway, Totals } from "./panels.js";
import { LiveTable } from "./table.js";

const SUBSCRIPTIONS = [
  { table: "positions", min_interval_ms: 250 },
  { table: "accounts", min_interval_ms: 250 },
  { table: "summary" },
  { table: "feeds" },
  { table: "alerts" },
];

const $ = (id) => document.getElementById(id);

function streamUrl() {
  const url = new URL("v1/stream", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

const dirty = new Set();
let scheduled = false;

/** Paint a table's part of the page in the next animation frame; changes until then are painted together. */
function schedule(table) {
  dirty.add(table);
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    const tables = [...dirty];
    dirty.clear();
    for (const each of tables) painters[each]();
  });
}

const connection = new Connection({
  url: streamUrl(),
  subscriptions: SUBSCRIPTIONS,
  onChange: schedule,
  onState: () => schedule("gateway"),
});
const rowsOf = (table) => connection.replica(table).rows;
const gatewayNow = () => Date.now() + connection.skew;

const positions = new LiveTable($("positions"), {
  columns: COLUMNS,
  sort: { column: "distance", direction: 1 },
  decorate,
  words,
  onSort: showSort,
});
const totals = new Totals($("summary"));
const accounts = new Accounts($("accounts"));
const feeds = new Feeds($("feeds"));
const alerts = new Alerts($("alerts"), acknowledge);
const gateway = new Gateway();

const painters = {
  positions: paintPositions,
  accounts: () => accounts.update(rowsOf("accounts"), (id) => rowsOf("positions").get(id)?.symbol),
  summary: () => totals.update(rowsOf("summary")),
  feeds: () => feeds.update(rowsOf("feeds"), gatewayNow()),
  alerts: () => alerts.update(rowsOf("alerts"), gatewayNow()),
  gateway: () => gateway.update(connection, Date.now()),
};

function paintPositions() {
  const replica = connection.replica("positions");
  if (!replica.complete) return;
  const shown = positions.update(replica.rows, replica.takeChanged(), performance.now());
  const all = replica.rows.size;
  setText($("count"), shown === all ? String(all) : `${shown} of ${all}`);
  $("empty").hidden = shown > 0;
  setText($("empty"), all === 0 ? "No open positions." : "No position matches the filter.");
}

/** Ages move by themselves; a silent connection is found; an order that was put off is made. */
function tick() {
  connection.check();
  for (const part of ["gateway", "feeds", "alerts", "positions"]) schedule(part);
}

function showSort({ column, direction }) {
  $("sort").value = `${column} ${direction}`;
  schedule("positions");
}

function buildSorter() {
  for (const { id, title } of COLUMNS) {
    for (const [direction, arrow] of [[1, "↑"], [-1, "↓"]]) {
      $("sort").append(element("option", { value: `${id} ${direction}` }, `${title} ${arrow}`));
    }
  }
  $("sort").addEventListener("change", ({ target }) => {
    const [column, direction] = target.value.split(" ");
    positions.sortBy(column, Number(direction));
  });
  showSort(positions.sort);
}

function listen() {
  $("filter").addEventListener("input", ({ target }) => {
    positions.filter(target.value);
    schedule("positions");
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, select")) return;
    event.preventDefault();
    $("filter").focus();
  });
  window.addEventListener("online", () => connection.hurry());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    connection.check();
    connection.hurry();
  });
}

buildSorter();
listen();
connection.start();
setInterval(tick, 1_000);
