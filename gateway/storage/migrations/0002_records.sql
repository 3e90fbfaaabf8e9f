-- What happened, and what was corrected: append-only records beside the last state. `state` holds the whole record; the other
-- columns are computed from it, except `at`, its own time. A record that is told again replaces the former one by its id.

ALTER TABLE accounts ADD COLUMN execution text NOT NULL DEFAULT 'live';

CREATE TABLE fills (
    id           text PRIMARY KEY,
    account      text NOT NULL,
    at           bigint NOT NULL,
    state        jsonb NOT NULL,
    symbol       text    GENERATED ALWAYS AS (state ->> 'symbol') STORED,
    order_id     text    GENERATED ALWAYS AS (state ->> 'order_id') STORED,
    side         text    GENERATED ALWAYS AS (state ->> 'side') STORED,
    size         numeric GENERATED ALWAYS AS (exact(state ->> 'size')) STORED,
    price        numeric GENERATED ALWAYS AS (exact(state ->> 'price')) STORED,
    fee          numeric GENERATED ALWAYS AS (exact(state ->> 'fee')) STORED,
    fee_ccy      text    GENERATED ALWAYS AS (state ->> 'fee_ccy') STORED,
    realized_pnl numeric GENERATED ALWAYS AS (exact(state ->> 'realized_pnl')) STORED,
    cause        text    GENERATED ALWAYS AS (state ->> 'cause') STORED
);
CREATE INDEX fills_account_at ON fills (account, at);

CREATE TABLE funding (
    id      text PRIMARY KEY,
    account text NOT NULL,
    at      bigint NOT NULL,
    state   jsonb NOT NULL,
    symbol  text    GENERATED ALWAYS AS (state ->> 'symbol') STORED,
    amount  numeric GENERATED ALWAYS AS (exact(state ->> 'amount')) STORED,
    ccy     text    GENERATED ALWAYS AS (state ->> 'ccy') STORED,
    rate    numeric GENERATED ALWAYS AS (exact(state ->> 'rate')) STORED
);
CREATE INDEX funding_account_at ON funding (account, at);

CREATE TABLE transfers (
    id      text PRIMARY KEY,
    account text NOT NULL,
    at      bigint NOT NULL,
    state   jsonb NOT NULL,
    kind    text    GENERATED ALWAYS AS (state ->> 'kind') STORED,
    amount  numeric GENERATED ALWAYS AS (exact(state ->> 'amount')) STORED,
    ccy     text    GENERATED ALWAYS AS (state ->> 'ccy') STORED
);
CREATE INDEX transfers_account_at ON transfers (account, at);

CREATE TABLE closed_cycles (
    id          text PRIMARY KEY,
    account     text NOT NULL,
    at          bigint NOT NULL,             -- when it was closed
    state       jsonb NOT NULL,
    symbol      text    GENERATED ALWAYS AS (state ->> 'symbol') STORED,
    side        text    GENERATED ALWAYS AS (state ->> 'side') STORED,
    size        numeric GENERATED ALWAYS AS (exact(state ->> 'size')) STORED,
    entry_price numeric GENERATED ALWAYS AS (exact(state ->> 'entry_price')) STORED,
    status      text    GENERATED ALWAYS AS (state ->> 'status') STORED,
    reason      text    GENERATED ALWAYS AS (state ->> 'reason') STORED,
    opened_at   bigint  GENERATED ALWAYS AS ((state ->> 'opened_at')::bigint) STORED
);
CREATE INDEX closed_cycles_account_at ON closed_cycles (account, at);

CREATE TABLE reconciliations (
    id       text PRIMARY KEY,
    account  text NOT NULL,
    at       bigint NOT NULL,                -- when it was found
    state    jsonb NOT NULL,
    position text  GENERATED ALWAYS AS (state ->> 'position') STORED,
    symbol   text  GENERATED ALWAYS AS (state ->> 'symbol') STORED,
    class    text  GENERATED ALWAYS AS (state ->> 'class') STORED,
    before   jsonb GENERATED ALWAYS AS (state -> 'before') STORED,
    after    jsonb GENERATED ALWAYS AS (state -> 'after') STORED,
    evidence jsonb GENERATED ALWAYS AS (state -> 'evidence') STORED
);
CREATE INDEX reconciliations_account_at ON reconciliations (account, at);
