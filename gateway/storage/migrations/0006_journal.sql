-- Everything that came in and was done, in order; what changed by it; and what follows from it: position history, the venues' own books,
-- and how far both agree. Times are milliseconds since the Unix epoch, UTC.
--
-- A journal entry's id is its place: the millisecond of its receipt * 2^20 + a number, rising over all lives of the gateway. Partitions
-- of a UTC day are made by whoever writes: from day * 86400000 * 2^20.

CREATE TABLE journal (
    id         bigint NOT NULL PRIMARY KEY,
    at         bigint NOT NULL,              -- when it came, our clock
    kind       text   NOT NULL,              -- ws, rest: raw; turn, clock, base, operator, correction: see gateway.core.journal
    epoch      text   NOT NULL,              -- the life of the gateway that took it
    turn       bigint NOT NULL,              -- number of the engine's turn in that life; entries of one turn share it; 0: raw input
    seq        bigint NOT NULL,              -- the change set that it became; 0: raw input
    user_name  text,                         -- null: of no single user (public data, the clock)
    account    text,
    venue      text,
    source     text,                         -- the connection, or `rest`
    request    text,                         -- what was asked
    request_id text,                         -- the venue's own, where it sends one
    venue_at   bigint,                       -- the venue's own time, where it says one
    causes     bigint[],                     -- the raw entries that a turn's events came from
    body       bytea  NOT NULL               -- as it came, events as JSON: packed by gateway.storage.payloads
) PARTITION BY RANGE (id);
-- Compressed already.
ALTER TABLE journal ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX journal_account_id ON journal (account, id);
CREATE INDEX journal_base ON journal (id) WHERE kind = 'base';  -- where replays begin
CREATE INDEX journal_lost ON journal (id) WHERE kind = 'lost';  -- what no replay goes across

-- The mark of every held symbol once a second, and exactly at every event; index prices and currencies' likewise. Thinned with age.
CREATE TABLE mark_samples (
    id       bigint NOT NULL,                -- its place among the entries of the journal
    venue    text   NOT NULL,
    env      text   NOT NULL,
    symbol   text   NOT NULL,                -- of a currency's price: the currency
    kind     text   NOT NULL,                -- mark, index, spot, usd (of a currency)
    at       bigint NOT NULL,                -- our clock
    venue_at bigint,
    value    text   NOT NULL,
    turn     bigint NOT NULL,                -- as in the journal
    epoch    text   NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX mark_samples_symbol ON mark_samples (venue, env, symbol, kind, id);

-- How far the stored rows reach in the journal; what lies in the spool comes later.
ALTER TABLE checkpoint ADD COLUMN journal bigint NOT NULL DEFAULT 0;

-- Every record carries its user, and the journal entry by which it came.
ALTER TABLE fills           ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE funding         ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE transfers       ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE closed_cycles   ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE reconciliations ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE alerts          ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE silences        ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE equity_samples  ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE coverage        ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE current_positions ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE balances          ADD COLUMN user_name text, ADD COLUMN journal bigint;
ALTER TABLE fills ADD COLUMN position text GENERATED ALWAYS AS (state ->> 'position') STORED;
ALTER TABLE funding ADD COLUMN position text GENERATED ALWAYS AS (state ->> 'position') STORED;
CREATE INDEX fills_account_symbol_at ON fills (account, symbol, at);
CREATE INDEX funding_account_symbol_at ON funding (account, symbol, at);

-- Every change of what the venue says of a position: the whole state that it became, and the names of the fields that changed.
CREATE TABLE position_changes (
    id        text   PRIMARY KEY,            -- its place among those of the journal, ":", the position
    account   text   NOT NULL,
    user_name text,
    at        bigint NOT NULL,               -- our clock, when it was taken
    journal   bigint,
    state     jsonb  NOT NULL,               -- {position, symbol, changed: [field], state: the whole, null when it is gone}
    position  text   GENERATED ALWAYS AS (state ->> 'position') STORED,
    symbol    text   GENERATED ALWAYS AS (state ->> 'symbol') STORED
);
CREATE INDEX position_changes_position_at ON position_changes (position, at);
CREATE INDEX position_changes_account_at ON position_changes (account, at);

-- Open → close cycles, worked out from fills and payments; nothing in here is told by a stream.
CREATE TABLE position_history (
    id               text   PRIMARY KEY,     -- the position, "@", the id of the fill that opened it
    account          text   NOT NULL,
    user_name        text,
    at               bigint NOT NULL,        -- when it was closed
    journal          bigint,
    state            jsonb  NOT NULL,
    number           bigint NOT NULL,        -- of the moments at which cycles of its account and symbol ended, rising
    folded           bigint NOT NULL,        -- that moment
    chain            jsonb  NOT NULL,        -- how its account and symbol stood after it: what is told late goes on from there
    position         text    GENERATED ALWAYS AS (state ->> 'position') STORED,
    symbol           text    GENERATED ALWAYS AS (state ->> 'symbol') STORED,
    side             text    GENERATED ALWAYS AS (state ->> 'side') STORED,
    status           text    GENERATED ALWAYS AS (state ->> 'status') STORED,
    reason           text    GENERATED ALWAYS AS (state ->> 'reason') STORED,
    settle           text    GENERATED ALWAYS AS (state ->> 'settle') STORED,
    size             numeric GENERATED ALWAYS AS (exact(state ->> 'size')) STORED,
    entry_price      numeric GENERATED ALWAYS AS (exact(state ->> 'entry_price')) STORED,
    exit_price       numeric GENERATED ALWAYS AS (exact(state ->> 'exit_price')) STORED,
    realized_pnl     numeric GENERATED ALWAYS AS (exact(state ->> 'realized_pnl')) STORED,
    fees             numeric GENERATED ALWAYS AS (exact(state ->> 'fees')) STORED,
    funding          numeric GENERATED ALWAYS AS (exact(state ->> 'funding')) STORED,
    liquidation_fee  numeric GENERATED ALWAYS AS (exact(state ->> 'liquidation_fee')) STORED,
    realized_net     numeric GENERATED ALWAYS AS (exact(state ->> 'realized_net')) STORED,
    opened_at        bigint  GENERATED ALWAYS AS ((state ->> 'opened_at')::bigint) STORED
);
CREATE INDEX position_history_account_at ON position_history (account, at, id);
CREATE INDEX position_history_user_at ON position_history (user_name, at, id);
CREATE INDEX position_history_symbol_at ON position_history (account, symbol, at, id);
CREATE INDEX position_history_number ON position_history (account, symbol, number);

-- The cycles that are under way, all legs of a symbol together, so that the next fill is all that has to be read.
CREATE TABLE open_cycles (
    id        text    PRIMARY KEY,           -- account and symbol
    account   text    NOT NULL,
    symbol    text    NOT NULL,
    user_name text,
    at        bigint  NOT NULL,              -- everything up to this moment is in it
    journal   bigint,
    state     jsonb   NOT NULL,
    late      bigint,                        -- a record of this moment is not in it: it has to be worked out again from there
    behind    boolean NOT NULL DEFAULT false, -- what is stored after "at" is not in it yet
    doubt     bigint,                        -- from this moment on a beginning is in doubt
    error     text,                          -- why it could not be worked out, the last time; "late" is -1 until it is tried again
    failures  integer NOT NULL DEFAULT 0,    -- how often in a row
    retry_at  bigint                         -- not before this moment
);
CREATE INDEX open_cycles_owing ON open_cycles (id) WHERE late IS NOT NULL OR behind;
CREATE INDEX open_cycles_account ON open_cycles (account);

-- Realised PnL as the venues' own books have it.
CREATE TABLE pnl_records (
    id           text   PRIMARY KEY,
    account      text   NOT NULL,
    user_name    text,
    at           bigint NOT NULL,
    journal      bigint,
    state        jsonb  NOT NULL,
    source       text    GENERATED ALWAYS AS (state ->> 'source') STORED,
    symbol       text    GENERATED ALWAYS AS (state ->> 'symbol') STORED,
    position     text    GENERATED ALWAYS AS (state ->> 'position') STORED,
    side         text    GENERATED ALWAYS AS (state ->> 'side') STORED,
    ccy          text    GENERATED ALWAYS AS (state ->> 'ccy') STORED,
    realized_pnl numeric GENERATED ALWAYS AS (exact(state ->> 'realized_pnl')) STORED,
    realized_net numeric GENERATED ALWAYS AS (exact(state ->> 'realized_net')) STORED
);
CREATE INDEX pnl_records_account_at ON pnl_records (account, at, id);
CREATE INDEX pnl_records_symbol_at ON pnl_records (account, symbol, at, id);

-- How far the past of an account was read; a reading that was broken off goes on here.
CREATE TABLE backfills (
    id         text   PRIMARY KEY,           -- account, ":", from, ":", to
    account    text   NOT NULL,
    user_name  text,
    at         bigint NOT NULL,              -- when it last got on
    journal    bigint,
    state      jsonb  NOT NULL,              -- {since, until, done: everything before it was read, records}
    since      bigint GENERATED ALWAYS AS ((state ->> 'since')::bigint) STORED,
    until      bigint GENERATED ALWAYS AS ((state ->> 'until')::bigint) STORED,
    done       bigint GENERATED ALWAYS AS ((state ->> 'done')::bigint) STORED
);
CREATE INDEX backfills_account ON backfills (account);

-- Our sums against the venues' books, one row an account, symbol and day; and the balance of an account's day (symbol is null).
CREATE TABLE verifications (
    id        text   PRIMARY KEY,            -- account, ":", symbol or "books", ":", day
    account   text   NOT NULL,
    user_name text,
    at        bigint NOT NULL,               -- the beginning of the day
    journal   bigint,
    state     jsonb  NOT NULL,
    symbol    text   GENERATED ALWAYS AS (state ->> 'symbol') STORED,
    day       bigint GENERATED ALWAYS AS ((state ->> 'day')::bigint) STORED,
    class     text   GENERATED ALWAYS AS (state ->> 'class') STORED
);
CREATE INDEX verifications_account_day ON verifications (account, day);
