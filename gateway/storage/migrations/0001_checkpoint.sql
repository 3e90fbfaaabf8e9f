-- What a restarted gateway shows at once, and what other readers of the database see: the last state that the venues sent.
-- `state` holds the whole record, every figure the exact string that the venue sent. The other columns are computed from
-- it by the database, so they can never disagree with it. Times are milliseconds since the Unix epoch, UTC.

-- A venue's figure as a number: digits and scale as they were sent, null where it is not a plain decimal.
CREATE FUNCTION exact(figure text) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN length(figure) <= 200 AND figure ~ '^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?$'
                THEN figure::numeric END;

CREATE TABLE accounts (
    name       text PRIMARY KEY,
    user_name  text NOT NULL,
    venue      text NOT NULL,
    env        text NOT NULL,
    region     text,
    mode       jsonb,                        -- the venue's own words, and whether its pools can be computed
    updated_at bigint NOT NULL
);

CREATE TABLE contracts (
    venue          text NOT NULL,
    env            text NOT NULL,
    symbol         text NOT NULL,
    state          jsonb NOT NULL,
    tiers          jsonb,                    -- the brackets of this contract's tiers_key, as they were last read
    last_sync      bigint NOT NULL,
    unified_symbol text    GENERATED ALWAYS AS (state ->> 'unified_symbol') STORED,
    base           text    GENERATED ALWAYS AS (state ->> 'base') STORED,
    settle         text    GENERATED ALWAYS AS (state ->> 'settle') STORED,
    kind           text    GENERATED ALWAYS AS (state ->> 'kind') STORED,
    contract_type  text    GENERATED ALWAYS AS (state ->> 'contract_type') STORED,
    contract_size  numeric GENERATED ALWAYS AS (exact(state ->> 'contract_size')) STORED,
    contract_ccy   text    GENERATED ALWAYS AS (state ->> 'contract_ccy') STORED,
    tick_size      numeric GENERATED ALWAYS AS (exact(state ->> 'tick_size')) STORED,
    max_leverage   numeric GENERATED ALWAYS AS (exact(state ->> 'max_leverage')) STORED,
    status         text    GENERATED ALWAYS AS (state ->> 'status') STORED,
    PRIMARY KEY (venue, env, symbol)
);

CREATE TABLE current_positions (
    id                       text PRIMARY KEY,
    account                  text NOT NULL,
    venue                    text,           -- null until the account is known
    env                      text,
    state                    jsonb NOT NULL,
    updated_seq              bigint NOT NULL,
    updated_at               bigint NOT NULL,
    symbol                   text    GENERATED ALWAYS AS (state ->> 'symbol') STORED,
    kind                     text    GENERATED ALWAYS AS (state ->> 'kind') STORED,
    side                     text    GENERATED ALWAYS AS (state ->> 'side') STORED,
    size                     numeric GENERATED ALWAYS AS (exact(state ->> 'size')) STORED,
    margin_mode              text    GENERATED ALWAYS AS (state ->> 'margin_mode') STORED,
    pool                     text    GENERATED ALWAYS AS (state ->> 'pool') STORED,
    status                   text    GENERATED ALWAYS AS (state ->> 'status') STORED,
    settle                   text    GENERATED ALWAYS AS (state ->> 'settle') STORED,
    entry_price              numeric GENERATED ALWAYS AS (exact(state ->> 'entry_price')) STORED,
    break_even_price         numeric GENERATED ALWAYS AS (exact(state ->> 'break_even_price')) STORED,
    leverage                 numeric GENERATED ALWAYS AS (exact(state ->> 'leverage')) STORED,
    isolated_margin          numeric GENERATED ALWAYS AS (exact(state ->> 'isolated_margin')) STORED,
    take_profit              numeric GENERATED ALWAYS AS (exact(state ->> 'take_profit')) STORED,
    stop_loss                numeric GENERATED ALWAYS AS (exact(state ->> 'stop_loss')) STORED,
    mark_price               numeric GENERATED ALWAYS AS (exact(state ->> 'mark_price')) STORED,
    venue_unrealized_pnl     numeric GENERATED ALWAYS AS (exact(state ->> 'venue_unrealized_pnl')) STORED,
    venue_maintenance_margin numeric GENERATED ALWAYS AS (exact(state ->> 'venue_maintenance_margin')) STORED,
    venue_liquidation_price  numeric GENERATED ALWAYS AS (exact(state ->> 'venue_liquidation_price')) STORED,
    fence                    jsonb   GENERATED ALWAYS AS (state -> 'fence') STORED,
    opened_at                bigint  GENERATED ALWAYS AS ((state ->> 'opened_at')::bigint) STORED,
    venue_at                 bigint  GENERATED ALWAYS AS ((state ->> 'venue_at')::bigint) STORED
);
CREATE INDEX current_positions_account ON current_positions (account);

CREATE TABLE balances (
    account      text NOT NULL,
    scope        text NOT NULL,
    state        jsonb NOT NULL,
    updated_at   bigint NOT NULL,
    available    numeric GENERATED ALWAYS AS (exact(state ->> 'available')) STORED,
    withdrawable numeric GENERATED ALWAYS AS (exact(state ->> 'withdrawable')) STORED,
    PRIMARY KEY (account, scope)
);

CREATE VIEW balance_coins AS
    SELECT account, scope, coin ->> 'ccy' AS ccy, exact(coin ->> 'total') AS total, exact(coin ->> 'available') AS available,
           exact(coin ->> 'equity') AS venue_equity, updated_at
    FROM balances, jsonb_array_elements(state -> 'coins') AS coin;

-- One row: which life of the gateway wrote last, and how far the stored rows reach. `revision` counts the writes of that
-- life: by (epoch, revision) a gateway knows again whether the database still holds what it wrote.
CREATE TABLE checkpoint (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch    text NOT NULL,
    seq      bigint NOT NULL,
    revision bigint NOT NULL,
    at       bigint NOT NULL,
    clean    boolean NOT NULL                -- written by an orderly stop, after everything else
);
