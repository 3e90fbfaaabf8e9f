/**
 * The gateway's stream as seen by a page: one WebSocket, its subscriptions and their replicas; comes back by itself.
 *
 * Owns connecting, resuming and giving up. Never touches the page. Clock, randomness, timers and socket are given.
 */

import { Replica } from "./replica.js";

const PROTOCOL = 1;
const BACKOFF_FIRST_MS = 250;
const BACKOFF_CAP_MS = 10_000;
// A connection that lived this long was a good one: the next loss starts with a short wait again.
const PROVEN_MS = 10_000;
// Until the hello says how often the gateway beats.
const HEARTBEAT_MS = 15_000;

/** Return how long to wait before an attempt (the first is 0): full jitter, so that many clients do not come at once. */
export function backoff(attempt, random) {
  return random * Math.min(BACKOFF_CAP_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16));
}

/** Say whether a client that was closed with this code may come back. */
export const mayReturn = (code) => !(code >= 4100 && code <= 4199);

/**
 * States (`state.name`):
 * - `connecting`: for the first time;
 * - `live`: every subscription is complete;
 * - `reconnecting`: lost, the replicas show the past;
 * - `stopped`: the gateway does not want us back, `state.reason` says why.
 */
export class Connection {
  state = { name: "connecting", reason: "" };
  server = null;
  lastFrameAt = null;
  /** Gateway's clock minus ours in ms, as far as frames can tell. */
  skew = 0;

  #options;
  #replicas = new Map();
  #tables = new Map(); // sub → table
  #refused = new Map(); // table → message
  #socket = null;
  #openedAt = 0;
  #heartbeatMs = HEARTBEAT_MS;
  #bestSkew = -Infinity;
  #attempt = 0;
  #retry = null;
  #pending = new Set(); // tables whose rows have not arrived on this connection

  /**
   * @param {object} options
   * @param {string} options.url of `/v1/stream`
   * @param {{table: string, min_interval_ms?: number}[]} options.subscriptions one a table
   * @param {(table: string) => void} options.onChange rows of a table changed
   * @param {() => void} options.onState `state` changed
   */
  constructor(options) {
    this.#options = {
      now: () => Date.now(),
      random: () => Math.random(),
      later: (callback, ms) => setTimeout(callback, ms),
      forget: (timer) => clearTimeout(timer),
      open: (url) => new WebSocket(url),
      ...options,
    };
    for (const { table } of options.subscriptions) this.#replicas.set(table, new Replica());
  }

  /** Return the replica of a table. */
  replica(table) {
    return this.#replicas.get(table);
  }

  /** Return what the gateway refused to send, by table. */
  get refused() {
    return this.#refused;
  }

  /** Connect; from then on the connection looks after itself, as long as `check` is called now and then. */
  start() {
    this.#retry = null;
    this.#openedAt = this.#options.now();
    const socket = (this.#socket = this.#options.open(this.#options.url));
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => this.#lost(event.code, event.reason);
  }

  /** Reconnect when no frame came for two heartbeats (a half-open connection never says that it is gone). Call every second. */
  check() {
    if (this.#socket === null) return;
    const silent = this.#options.now() - Math.max(this.lastFrameAt ?? 0, this.#openedAt);
    if (silent > 2 * this.#heartbeatMs) this.#lost(undefined, `silent for ${Math.round(silent / 1000)} s`);
  }

  /** Try now instead of at the end of the wait: the network or the reader is back. */
  hurry() {
    if (this.#retry === null) return;
    this.#options.forget(this.#retry);
    this.start();
  }

  #lost(code, reason) {
    const { now, later, random } = this.#options;
    this.#drop();
    if (!mayReturn(code)) {
      this.#become("stopped", `${reason || "closed"} (${code})`);
      return;
    }
    if (now() - this.#openedAt > PROVEN_MS) this.#attempt = 0;
    this.#retry = later(() => this.start(), backoff(this.#attempt, random()));
    this.#attempt += 1;
    // Before the first success there is nothing old to warn of.
    this.#become(this.state.name === "connecting" ? "connecting" : "reconnecting", reason);
  }

  /** Forget the socket; what it may still say is not heard. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #receive(frame) {
    this.lastFrameAt = this.#options.now();
    switch (frame.type) {
      case "hello":
        return this.#hello(frame);
      case "subscribed":
        return this.#subscribed(frame);
      case "snapshot":
      case "delta":
        return this.#rows(frame);
      case "heartbeat":
        return this.#heartbeat(frame);
      case "error":
        return this.#error(frame);
      default:
        return undefined; // a newer gateway may say more
    }
  }

  #hello({ protocol, server, heartbeat_ms: heartbeatMs }) {
    if (protocol !== PROTOCOL) {
      this.#drop();
      this.#become("stopped", `the gateway speaks protocol ${protocol}, this page ${PROTOCOL}`);
      return;
    }
    this.server = server;
    this.#heartbeatMs = heartbeatMs;
    this.#bestSkew = -Infinity;
    this.#tables.clear();
    this.#refused.clear();
    this.#pending = new Set(this.#replicas.keys());
    for (const table of this.#replicas.keys()) this.#subscribe(table);
  }

  #subscribe(table) {
    const wanted = this.#options.subscriptions.find((each) => each.table === table);
    // The table's name is the command's id: the answer carries it back.
    const command = { op: "subscribe", id: table, ...wanted, since: this.#replicas.get(table).since() };
    this.#socket.send(JSON.stringify(command));
  }

  #subscribed(frame) {
    const table = this.#tables.get(frame.was) ?? frame.id;
    const replica = this.#replicas.get(table);
    if (replica === undefined) return;
    this.#tables.delete(frame.was);
    this.#tables.set(frame.sub, table);
    replica.subscribed(frame);
  }

  #rows(frame) {
    const table = this.#tables.get(frame.sub);
    const replica = this.#replicas.get(table);
    if (replica === undefined) return;
    this.#learnTime(frame);
    if (!replica.apply(frame)) {
      this.#subscribe(table);
      return;
    }
    if (!replica.complete || frame.more) return;
    this.#options.onChange(table);
    if (this.#pending.delete(table)) this.#settle();
  }

  /** "Complete up to seq" speaks of what is subscribed on this connection, not of what is about to be. */
  #heartbeat({ seq }) {
    for (const table of this.#tables.values()) {
      const replica = this.#replicas.get(table);
      replica.heartbeat(seq);
      // Resumed, and there was nothing to send.
      if (replica.since() !== undefined && this.#pending.delete(table)) this.#settle();
    }
  }

  #error({ id, code, message, retry }) {
    if (retry) {
      this.#lost(undefined, message);
      return;
    }
    if (!this.#replicas.has(id)) return;
    this.#refused.set(id, `${message} (${code})`);
    this.#pending.delete(id);
    this.#settle();
  }

  #settle() {
    if (this.#pending.size === 0) this.#become("live", "");
  }

  #become(name, reason) {
    this.state = { name, reason };
    this.#options.onState();
  }

  /** The least delayed delta tells best how far the clocks are apart. A snapshot's `at` may be long ago. */
  #learnTime({ type, at }) {
    if (type !== "delta" || at === undefined) return;
    this.#bestSkew = Math.max(this.#bestSkew, at - this.#options.now());
    this.skew = this.#bestSkew;
  }
}
