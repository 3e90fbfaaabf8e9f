/**
 * One selection of the stream, kept equal to the gateway's: snapshots, deltas, merge patches, heartbeats, cursor.
 *
 * Pure: no socket, clock or page. The rules are those of docs/protocol.md. A row is never changed in place: whoever holds
 * the row of before can compare it, field by field, with the row of now.
 */

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Return `target` with a merge patch applied (RFC 7396, section 2); neither argument is changed. */
export function merge(target, patch) {
  if (!isObject(patch)) return patch;
  // Without a prototype a field may bear any name, "__proto__" too.
  const merged = Object.assign(Object.create(null), isObject(target) ? target : null);
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete merged[field];
    else merged[field] = merge(merged[field], value);
  }
  return merged;
}

export class Replica {
  /** Rows by id. */
  rows = new Map();
  /** Complete up to this seq of `epoch`; null: nothing to resume from. */
  cursor = null;
  epoch = null;
  sub = null;
  /** False until the last piece of a snapshot is there: such rows are neither shown nor resumed from. */
  complete = false;

  #changed = new Set();

  /** Take the answer to a subscribe. What was known of another selection is no place to resume from. */
  subscribed({ sub, recovered }) {
    if (!recovered) this.cursor = null;
    this.sub = sub;
  }

  /**
   * Apply a snapshot or delta of this subscription.
   *
   * @returns {boolean} False for a gap: frames in between are missing, subscribe again with `since()`.
   */
  apply(frame) {
    if (frame.type === "snapshot") {
      this.#replace(frame);
      return true;
    }
    if (this.cursor === null || frame.prev > this.cursor) return false;
    for (const [id, row] of Object.entries(frame.rows ?? {})) this.#put(id, row);
    for (const [id, patch] of Object.entries(frame.patch ?? {})) this.#patch(id, patch);
    this.cursor = Math.max(this.cursor, frame.seq);
    if (!this.complete) this.complete = !frame.more;
    return true;
  }

  /** Take a heartbeat: everything up to `seq` has arrived. */
  heartbeat(seq) {
    if (this.complete && this.cursor !== null) this.cursor = Math.max(this.cursor, seq);
  }

  /** Return where to resume from, undefined where only a snapshot will do. */
  since() {
    if (!this.complete || this.cursor === null) return undefined;
    return { epoch: this.epoch, seq: this.cursor, sub: this.sub };
  }

  /** Return the ids whose rows came, changed or went since the last call. */
  takeChanged() {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  #replace({ epoch, seq, sub, rows, more }) {
    const before = this.rows;
    this.rows = new Map();
    for (const id of before.keys()) this.#changed.add(id);
    for (const [id, row] of Object.entries(rows)) this.#put(id, row);
    this.epoch = epoch;
    this.cursor = seq;
    this.sub = sub ?? this.sub;
    this.complete = !more;
  }

  #put(id, row) {
    this.rows.set(id, row);
    this.#changed.add(id);
  }

  #patch(id, patch) {
    if (patch === null) this.rows.delete(id);
    else this.rows.set(id, merge(this.rows.get(id), patch));
    this.#changed.add(id);
  }
}
