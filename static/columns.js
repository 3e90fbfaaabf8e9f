/** The columns of the positions table: which fields they show, how, and how they sort. */

import { element, setAttribute, setBar, setText } from "./dom.js";
import { decimalsOf, exact, moment, number, percent, signedMoney, times, UNKNOWN } from "./format.js";

// A bar is empty where liquidation is this far away (fraction of the mark) or farther.
const FAR = 0.5;
const NEAR = 0.05;
const WATCH = 0.1;

// Risk scores from which a cell is amber and red.
const RAISED = 0.4;
const HIGH = 0.7;
const SCORE_PARTS = ["weight", "leverage", "liquidation_distance"];

const VENUES = { okx: "OKX", bybit: "Bybit", hyperliquid: "Hyperliquid", aster: "Aster" };
const REASONS = {
  restored: "restored, not confirmed yet",
  private_feed: "account feed is down",
  mark_feed: "no fresh marks",
  polled: "polled, not streamed",
  fill_pending: "fill not confirmed yet",
  venue_unreachable: "venue does not answer",
};
const SOURCES = {
  model: "M: computed by the margin model",
  venue: "V: as the venue says",
  calibrated: "C: computed by the margin model, calibrated to the venue",
};

export const venueName = (venue) => VENUES[venue] ?? venue ?? UNKNOWN;
export const staleReason = (stale) => REASONS[stale.reason] ?? stale.reason;

/** Return why figures are not live, and since when; of a polled account the moment is that of its last answer. */
export function staleText(stale) {
  const when = moment(stale.since);
  return stale.reason === "polled" ? `${staleReason(stale)}: as of ${when}` : `stale: ${staleReason(stale)}, since ${when}`;
}

/** Return what the venue itself warned of. */
export const warningText = (warning) => warning && `the venue warns (${moment(warning.at)}): ${warning.what}`;
const staleWord = (stale) => String(stale.reason).replaceAll("_", " ");

const byModel = (source) => source === "model" || source === "calibrated";

/** Say whether nothing liquidates a row: by its own word, or since no price of its underlying spends its pool, as the model says. */
const isSafe = ({ liquidation_source: source, liquidation_distance: distance }) =>
  source === "none" || (byModel(source) && distance === undefined);

/** Return how far liquidation is, for sorting: what cannot be told is nearest, what cannot happen farthest. */
export function nearness(row) {
  return isSafe(row) ? Infinity : (row.liquidation_distance ?? -Infinity);
}

/** Return what stands where a row has no liquidation price: a word, and why. */
function priceless({ liquidation_source: source, liquidation_distance: distance }) {
  if (source === "none") return ["none", "no price above zero liquidates it"];
  if (source === "unknown") return ["unknown", "it could not be determined"];
  if (!byModel(source)) return [UNKNOWN];
  return distance <= 0
    ? ["spent", "its pool is spent, and no price of this symbol saves it"]
    : [UNKNOWN, "no price of this symbol alone liquidates it"];
}

/** Return how near a distance (fraction of the mark) is: near, watch or calm; undefined where there is none. */
export function level(distance) {
  if (distance === undefined) return undefined;
  if (distance <= NEAR) return "near";
  return distance <= WATCH ? "watch" : "calm";
}

const figure = (text) => (text === undefined ? undefined : Number(text));
const sign = (value) => (typeof value !== "number" || Math.abs(value) < 0.005 ? undefined : value > 0 ? "up" : "down");

/** Let a cell light up once; two equal animations take turns, so that the next change starts anew. */
function flash(cell, up) {
  const turn = cell.dataset.flash?.endsWith("a") ? "b" : "a";
  cell.dataset.flash = `${up ? "up" : "down"}-${turn}`;
}

/** Set what hovering tells: the parts that there are, a line each. */
const setTitle = (cell, lines) => setAttribute(cell, "title", lines.filter(Boolean).join("\n"));

const parts = (...names) => (cell) => cell.append(...names.map((name) => element("span", { class: name })));

/** Return the decimals of a computed price: as many as the mark (else the entry) has shown so far, so that digits do not jump. */
function priceDecimals(cell, { mark_price: mark, entry_price: entry }) {
  const seen = Math.max(Number(cell.dataset.decimals ?? 0), decimalsOf(mark ?? figure(entry)));
  if (String(seen) !== cell.dataset.decimals) cell.dataset.decimals = seen;
  return seen;
}

function paintSymbol(cell, row) {
  const [name, tag] = cell.children;
  setText(name, row.symbol ?? UNKNOWN);
  const { env, kind, dust } = row;
  const paper = row.execution !== "live" && row.execution;
  const warned = row.venue_warning && "warned";
  const odd = [env !== "live" && env, paper, kind !== "perp" && kind, dust && "dust", warned, row.stale && staleWord(row.stale)];
  setText(tag, odd.filter(Boolean).join(" · "));
  const missing = row.missing && `missing: ${row.missing.join(", ")}`;
  const stale = row.stale && staleText(row.stale);
  setTitle(cell, [row.unified_symbol ?? row.symbol, stale, warningText(row.venue_warning), missing]);
}

function paintSide(cell, row) {
  setText(cell.firstChild, row.side ?? UNKNOWN);
  setAttribute(cell, "data-side", row.side);
}

function paintSize(cell, row) {
  setText(cell, exact(row.size));
  setTitle(cell, [
    `size ${exact(row.size)}`,
    row.quantity && `quantity ${exact(row.quantity)} ${row.contract_ccy ?? row.base ?? ""}`,
    row.status === "partially_closed" && "partially closed",
  ]);
}

function paintEntry(cell, row) {
  setText(cell, exact(row.entry_price));
  setTitle(cell, [
    `entry ${exact(row.entry_price)}`,
    row.break_even_price && `break-even ${exact(row.break_even_price)}`,
    row.opened_at && `opened ${moment(row.opened_at)}`,
  ]);
}

function paintMark(cell, row) {
  const text = number(row.mark_price, priceDecimals(cell, row));
  setText(cell, text);
  setTitle(cell, [`mark ${text}`, row.mark_at && `of ${moment(row.mark_at)}`]);
}

function paintPnl(cell, row, before) {
  const value = row.unrealized_pnl_usd;
  const changed = setText(cell, signedMoney(value));
  setAttribute(cell, "data-sign", sign(value));
  const settled = row.settle && row.unrealized_pnl !== undefined;
  setAttribute(cell, "title", settled ? `${number(row.unrealized_pnl, 8, true)} ${row.settle}` : undefined);
  const last = before?.unrealized_pnl_usd;
  if (changed && last !== undefined && value !== undefined) flash(cell, value > last);
}

function paintRoe(cell, row) {
  setText(cell, percent(row.roe, 2, true));
  setAttribute(cell, "data-sign", sign(row.roe === undefined ? undefined : row.roe * 100));
}

function paintLiquidation(cell, row) {
  const [price, source] = cell.children;
  const from = row.liquidation_source;
  const known = row.liquidation_price !== undefined;
  const [word, why] = known ? [] : priceless(row);
  const text = known ? number(row.liquidation_price, priceDecimals(cell, row)) : word;
  setText(price, text);
  // One letter; the title says the word.
  setText(source, known ? (from ?? "").slice(0, 1) : "");
  setAttribute(cell, "data-known", known ? undefined : "no");
  // Where the whole pool is spent, when that is another price than the venue's definition gives.
  const spent = row.trigger_price !== undefined && `the pool is spent at ${number(row.trigger_price, priceDecimals(cell, row))}`;
  setTitle(cell, [`liquidation price ${text}`, spent, why ?? SOURCES[from]]);
}

function paintDistance(cell, row) {
  const [bar, text] = cell.children;
  const { liquidation_distance: distance } = row;
  // The fuller, the nearer, as with an account's margin ratio.
  const filled = distance === undefined ? undefined : 1 - distance / FAR;
  setBar(bar, filled, distance === undefined && !isSafe(row) ? "unknown" : level(distance));
  setText(text, percent(distance, distance >= 10 ? 0 : 1)); // so far away its width matters more than its digits
}

function paintRisk(cell, row) {
  const { risk_score: score, missing = [] } = row;
  setText(cell, number(score, 2));
  setAttribute(cell, "data-level", score === undefined ? undefined : score >= HIGH ? "near" : score >= RAISED ? "watch" : "calm");
  const without = SCORE_PARTS.filter((part) => missing.includes(part)).map((part) => part.replaceAll("_", " "));
  setTitle(cell, [
    `risk score ${number(score, 2)}, from 0 to 1: share of the portfolio, leverage, nearness of liquidation`,
    without.length > 0 && `made without ${without.join(", ")}`,
  ]);
}

function paintMode(cell, row) {
  const [how, lever] = cell.children;
  setText(how, row.margin_mode ?? UNKNOWN);
  setText(lever, times(row.leverage));
}

function paintAccount(cell, row) {
  setText(cell, row.account ?? UNKNOWN);
  setAttribute(cell, "title", row.strategy ? `${row.account}\nstrategy: ${row.strategy}` : row.account);
}

/** @type {import("./table.js").Column[]} */
export const COLUMNS = [
  {
    id: "symbol",
    title: "Symbol",
    head: true,
    fields: ["symbol", "unified_symbol", "env", "execution", "kind", "dust", "venue_warning", "stale", "missing"],
    value: (row) => row.symbol,
    build: parts("name", "tag"),
    paint: paintSymbol,
  },
  {
    id: "venue",
    title: "Venue",
    fields: ["venue"],
    value: (row) => row.venue,
    paint: (cell, row) => setText(cell, venueName(row.venue)),
  },
  {
    id: "account",
    title: "Account",
    fields: ["account", "strategy"],
    value: (row) => row.account,
    paint: paintAccount,
  },
  {
    id: "side",
    title: "Side",
    fields: ["side"],
    value: (row) => row.side,
    build: parts("badge"),
    paint: paintSide,
  },
  {
    id: "mode",
    title: "Margin",
    hint: "margin mode and leverage",
    fields: ["margin_mode", "leverage"],
    value: (row) => figure(row.leverage),
    first: -1,
    build: parts("how", "lever"),
    paint: paintMode,
  },
  {
    id: "size",
    title: "Size",
    label: true,
    hint: "in the venue's unit",
    fields: ["size", "quantity", "contract_ccy", "base", "status"],
    value: (row) => figure(row.size),
    first: -1,
    paint: paintSize,
  },
  {
    id: "value",
    title: "Value $",
    hint: "notional in US dollars",
    fields: ["notional_usd"],
    value: (row) => row.notional_usd,
    first: -1,
    paint: (cell, row) => setText(cell, number(row.notional_usd, 0)),
  },
  {
    id: "entry",
    title: "Entry",
    label: true,
    fields: ["entry_price", "break_even_price", "opened_at"],
    value: (row) => figure(row.entry_price),
    first: -1,
    paint: paintEntry,
  },
  {
    id: "mark",
    title: "Mark",
    label: true,
    fields: ["mark_price", "mark_at", "entry_price"],
    value: (row) => row.mark_price,
    first: -1,
    paint: paintMark,
  },
  {
    id: "pnl",
    title: "PnL $",
    hint: "unrealised, in US dollars",
    fields: ["unrealized_pnl_usd", "unrealized_pnl", "settle"],
    value: (row) => row.unrealized_pnl_usd,
    paint: paintPnl,
  },
  {
    id: "roe",
    title: "ROE",
    hint: "unrealised PnL over the margin at entry",
    fields: ["roe"],
    value: (row) => row.roe,
    paint: paintRoe,
  },
  {
    id: "liquidation",
    title: "Liq. price",
    label: true,
    fields: ["liquidation_price", "liquidation_source", "liquidation_distance", "trigger_price", "mark_price", "entry_price"],
    value: (row) => row.liquidation_price,
    first: -1,
    build: parts("price", "source"),
    paint: paintLiquidation,
  },
  {
    id: "distance",
    title: "Distance",
    hint: "from the mark to the liquidation price; the fuller the bar, the nearer",
    fields: ["liquidation_distance", "liquidation_source"],
    value: nearness,
    build: parts("bar", "share"),
    paint: paintDistance,
  },
  {
    id: "risk",
    title: "Risk",
    hint: "score from 0 to 1",
    fields: ["risk_score", "missing"],
    value: (row) => row.risk_score,
    first: -1,
    paint: paintRisk,
  },
];

/** Mark a whole row: stale ones are grey, dust is faint. */
export function decorate(node, row) {
  setAttribute(node, "data-stale", row.stale?.reason);
  setAttribute(node, "data-dust", row.dust ? "yes" : undefined);
}

/** Return what a filter searches in a row. */
export function words(row) {
  const { symbol, unified_symbol: unified, account, venue, side, margin_mode: mode, env, kind, strategy } = row;
  const states = [row.stale && "stale", row.dust && "dust"];
  return [symbol, unified, account, venue, side, mode, env, kind, strategy, ...states].filter(Boolean).join(" ").toLowerCase();
}

