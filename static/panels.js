/** What stands around the positions table: totals, accounts, feeds, the gateway's own state and the banner. */

import { staleReason, staleText, venueName, warningText } from "./columns.js";
import { element, keyed, setAttribute, setBar, setText } from "./dom.js";
import { age, moment, money, number, percent, shortMoney, signedMoney, times, UNKNOWN } from "./format.js";

// Shares of the way to liquidation (margin ratio 1) from which an account's bar turns amber and red.
const RATIO_WATCH = 0.5;
const RATIO_NEAR = 0.8;
// Bases listed under net exposure; the rest is summed up.
const BASES = 10;
const DAY_MS = 86_400_000;
const FEED_STATES = { live: "live", polled: "polled", stale: "stale", down: "down" };

const signOf = (value) => (typeof value !== "number" || Math.abs(value) < 0.005 ? undefined : value > 0 ? "up" : "down");
const byId = (a, b) => (a < b ? -1 : 1);

/** Totals of each user, one strip a summary row; strips are named only where there are several. */
export class Totals {
  #root;
  #strips = new Map();

  constructor(root) {
    this.#root = root;
  }

  update(rows) {
    const ids = [...rows.keys()].sort(byId);
    keyed(this.#root, this.#strips, ids, (id) => new Strip(id));
    for (const id of ids) this.#strips.get(id).update(rows.get(id), ids.length > 1);
  }
}

class Strip {
  #name;
  #values;
  #risk = element("small");
  #since = element("small");
  #bases;
  #chips = new Map();
  #stress;
  #ladder;
  #steps = new Map();

  constructor(id) {
    this.#name = element("h3", {}, id);
    this.#bases = element("ul", { class: "bases" });
    const titles = ["Equity", "Unrealised PnL", "Realised today", "Positions", "Gross leverage", "Margin used"];
    this.#values = titles.map(() => element("dd"));
    this.#values[2].append(element("span"), this.#since);
    this.#values[3].append(element("span"), this.#risk);
    const pairs = titles.map((title, place) => element("div", {}, element("dt", {}, title), this.#values[place]));
    this.#ladder = element("ul", { class: "ladder" });
    this.#stress = element("div", { class: "stress" }, element("dt"), element("dd", {}, this.#ladder));
    const exposure = element("div", { class: "exposure" }, element("dt", {}, "Net exposure"), element("dd", {}, this.#bases));
    this.node = element("div", { class: "strip" }, this.#name, element("dl", { class: "totals" }, ...pairs, exposure, this.#stress));
  }

  update(row, named) {
    this.#name.hidden = !named;
    const [equity, pnl, realized, positions, leverage, margin] = this.#values;
    setText(equity, dollars(money(row.total_equity_usd)));
    setText(pnl, dollars(signedMoney(row.total_unrealized_pnl_usd)));
    setAttribute(pnl, "data-sign", signOf(row.total_unrealized_pnl_usd));
    this.#realized(realized, row);
    const near = row.liquidation_risk_positions;
    setText(positions.firstChild, number(row.total_positions, 0));
    setText(this.#risk, near ? `${near} at risk` : "");
    setAttribute(this.#risk, "title", near ? "near liquidation, or not determined" : undefined);
    setText(leverage, times(row.gross_leverage));
    setText(margin, dollars(money(row.total_margin_usd)));
    this.#exposures(Object.entries(row.net_exposure ?? {}));
    this.#stresses(row.stress ?? {}, row.stress_unmoved ?? []);
  }

  #realized(value, row) {
    const { total_realized_pnl_usd: usd, realized_since: since, realized_incomplete: apart } = row;
    setText(value.firstChild, dollars(signedMoney(usd)));
    setAttribute(value.firstChild, "data-sign", signOf(usd));
    const late = since !== undefined && since % DAY_MS !== 0;
    setText(this.#since, [late ? `since ${moment(since)}` : "", apart ? "incomplete" : ""].filter(Boolean).join(", "));
    setAttribute(this.#since, "title", apart && `not whole: ${apart.join(", ")}`);
  }

  #stresses(stress, unmoved) {
    const now = stress[0]?.equity_usd;
    const steps = Object.keys(stress).filter((step) => Number(step) !== 0).sort((a, b) => a - b);
    this.#stress.hidden = steps.length === 0;
    const apart = stress[0]?.not_covered.length ?? 0;
    const notes = [apart > 0 && `without ${apart} of the accounts`, unmoved.length > 0 && `nobody holds ${unmoved.join(", ")}`];
    const noted = notes.filter(Boolean).join("; ");
    setText(this.#stress.firstChild, `If the market moves${noted && ` (${noted})`}`);
    keyed(this.#ladder, this.#steps, steps, (step) => {
      const value = element("span");
      return { node: element("li", {}, element("b", {}, percent(step / 100, 0, true)), " ", value), value };
    });
    for (const step of steps) {
      const { node, value } = this.#steps.get(step);
      const { equity_usd: equity, margin_ratio: ratio, liquidated, not_covered: apart } = stress[step];
      setText(value, equity === undefined ? UNKNOWN : shortMoney(equity - now, true));
      setAttribute(value, "data-sign", signOf(equity - now));
      setAttribute(node, "data-level", liquidated.length > 0 ? "near" : ratioLevel(ratio));
      setAttribute(node, "title", stressText(equity, ratio, liquidated, apart));
    }
  }

  #exposures(bases) {
    bases.sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
    const shown = bases.slice(0, BASES);
    const rest = bases.slice(BASES);
    if (rest.length > 0) shown.push([`+${rest.length} more`, rest.reduce((sum, [, usd]) => sum + usd, 0)]);
    keyed(this.#bases, this.#chips, shown.map(([base]) => base), (base) => {
      const value = element("span");
      return { node: element("li", {}, element("b", {}, base), " ", value), value };
    });
    for (const [base, usd] of shown) {
      const { value } = this.#chips.get(base);
      setText(value, shortMoney(usd, true));
      setAttribute(value, "data-sign", signOf(usd));
      setAttribute(value, "title", dollars(signedMoney(usd)));
    }
  }
}

const dollars = (text) => (text === UNKNOWN ? text : text.replace(/^([+−]?)/, "$1$"));

function stressText(equity, ratio, liquidated, apart) {
  return [
    `equity ${dollars(money(equity))}, worst margin ratio ${percent(ratio)}`,
    liquidated.length > 0 && `liquidated, in this order: ${liquidated.join(", ")}`,
    apart.length > 0 && `not covered: ${apart.join(", ")}`,
  ].filter(Boolean).join("\n");
}

/** One card an account: equity, and the worst pool's way to liquidation as a bar. */
export class Accounts {
  #root;
  #cards = new Map();

  constructor(root) {
    this.#root = root;
  }

  /** @param {(id: string) => string | undefined} symbolOf the symbol of a position */
  update(rows, symbolOf) {
    const ids = [...rows.keys()].sort(byId);
    keyed(this.#root, this.#cards, ids, makeCard);
    for (const id of ids) paintCard(this.#cards.get(id), rows.get(id), symbolOf);
  }
}

function makeCard(id) {
  const part = (name, text = "") => element("span", { class: name }, text);
  const parts = Object.fromEntries(["equity", "bar", "ratio", "pool", "shock", "pnl"].map((name) => [name, part(name)]));
  const node = element("li", { class: "card" }, part("name", id), ...Object.values(parts));
  return { node, ...parts };
}

function paintCard(card, row, symbolOf) {
  setText(card.equity, dollars(money(row.equity_usd)));
  const ratio = row.margin_ratio;
  setBar(card.bar, ratio, ratioLevel(ratio));
  setText(card.ratio, percent(ratio));
  const venue = venueName(row.venue) + (row.env !== "live" ? ` ${row.env}` : "");
  const pool = poolName(row.worst_pool, symbolOf);
  const rest = pool ? `${venue} · ${pool}` : venue;
  setText(card.pool, row.refused ? "refused: it is not read" : row.stale ? staleReason(row.stale) : rest);
  setText(card.shock, row.liquidation_shock === undefined ? "" : `at ${percent(row.liquidation_shock, 0, true)}`);
  setText(card.pnl, signedMoney(row.unrealized_pnl_usd));
  setAttribute(card.pnl, "data-sign", signOf(row.unrealized_pnl_usd));
  setAttribute(card.node, "data-stale", row.stale?.reason);
  setAttribute(card.node, "title", describe(row, rest));
}

function ratioLevel(ratio) {
  if (ratio === undefined) return undefined;
  if (ratio >= RATIO_NEAR) return "near";
  return ratio >= RATIO_WATCH ? "watch" : "calm";
}

function poolName(pool, symbolOf) {
  if (pool === undefined) return "";
  if (!pool.startsWith("iso:")) return `pool ${pool}`;
  return `isolated ${symbolOf(pool.slice(4)) ?? ""}`;
}

function describe(row, rest) {
  return [
    rest,
    row.mode && `mode: ${row.mode}`,
    `margin ratio of the worst pool, 100 % = liquidation: ${percent(row.margin_ratio)}`,
    `gross leverage: ${times(row.gross_leverage)}`,
    row.liquidation_shock !== undefined && `liquidated if everything moves by ${percent(row.liquidation_shock, 1, true)}`,
    row.not_covered && `not in the stress figures: ${row.not_covered}`,
    row.partly_modelled && `partly modelled: ${row.partly_modelled.length} positions with the venue's figures`,
    row.refused && `refused: ${row.refused}`,
    row.same_owner_as && `the same account at the venue as: ${row.same_owner_as.join(", ")}`,
    warningText(row.venue_warning),
    row.stale && staleText(row.stale),
  ].filter(Boolean).join("\n");
}

/** One pill a connection to a venue. */
export class Feeds {
  #root;
  #pills = new Map();

  constructor(root) {
    this.#root = root;
  }

  /** @param {number} now the gateway's clock, ms */
  update(rows, now) {
    const ids = [...rows.keys()].sort(byId);
    keyed(this.#root, this.#pills, ids, (id) => {
      const state = element("span", { class: "state" });
      return { node: element("li", { class: "pill" }, id.replace(":", " "), " ", state), state };
    });
    for (const id of ids) paintPill(this.#pills.get(id), rows.get(id), now);
  }
}

function paintPill({ node, state }, row, now) {
  // A polled account has no stream: its last question was answered, no more.
  const word = row.polled && row.state === "live" ? "polled" : row.state;
  setAttribute(node, "data-state", FEED_STATES[word] ?? "connecting");
  setText(state, word);
  const lines = [
    `${venueName(row.venue)} ${row.connection}: ${word} for ${age(now - row.since)}`,
    row.last_message_at !== undefined && `last ${row.polled ? "answer" : "message"} ${age(now - row.last_message_at)} ago`,
    row.lag_ms !== undefined && `lag ${row.lag_ms} ms`,
    row.reconnects > 0 && `${row.reconnects} reconnects`,
    row.last_error && `last error: ${row.last_error}`,
  ];
  setAttribute(node, "title", lines.filter(Boolean).join("\n"));
}

const WORDS = { connecting: "connecting", live: "live", reconnecting: "reconnecting", stopped: "stopped" };

/** The gateway's own state, in the header and, when it is lost, in the banner. */
export class Gateway {
  #pill = document.getElementById("gateway");
  #banner = document.getElementById("banner");
  #text = document.getElementById("banner-text");
  #age = document.getElementById("banner-age");

  /** @param {number} now our clock, ms */
  update({ state, server, lastFrameAt, refused }, now) {
    const { name, reason } = state;
    const silent = lastFrameAt === null ? undefined : now - lastFrameAt;
    document.body.dataset.gateway = name;
    setAttribute(this.#pill, "data-state", name);
    setText(this.#pill.children[0], WORDS[name]);
    // A heartbeat apart is normal; only an age that says something is shown.
    setText(this.#pill.children[1], silent > 2_000 ? age(silent) : "");
    const about = [server, silent !== undefined && `last heard ${age(silent)} ago`];
    setAttribute(this.#pill, "title", about.filter(Boolean).join("\n") || undefined);
    const problem = problemOf(name, reason, refused);
    this.#banner.hidden = problem === undefined;
    setText(this.#text, problem ?? "");
    const dated = problem !== undefined && name !== "live" && silent !== undefined;
    setText(this.#age, dated ? `last data ${age(silent)} ago` : "");
  }
}

function problemOf(name, reason, refused) {
  if (name === "stopped") return `The gateway does not serve this page: ${reason}. Reload when that is settled.`;
  if (name === "reconnecting") return "Connection to the gateway lost, reconnecting…";
  const [first] = refused;
  return first === undefined ? undefined : `The gateway refused ${first[0]}: ${first[1]}`;
}
