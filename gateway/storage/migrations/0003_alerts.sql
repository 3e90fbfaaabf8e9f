-- Where every alert stands, what is silenced, and what accounts were worth by the minute. `state` holds the whole record; the other
-- columns are computed from it, except `at`, its own time.

-- One row an alert, its newest status: a restarted gateway goes on from it and tells nothing twice. `account` is null where an alert
-- is of a venue's marks.
CREATE TABLE alerts (
    id       text PRIMARY KEY,               -- rule:subject
    account  text,
    at       bigint NOT NULL,                -- when the status last changed
    state    jsonb NOT NULL,
    rule     text GENERATED ALWAYS AS (state ->> 'rule') STORED,
    subject  text GENERATED ALWAYS AS (state ->> 'subject') STORED,
    standing text GENERATED ALWAYS AS (state ->> 'state') STORED,  -- ok, pending, firing, resolved
    severity text GENERATED ALWAYS AS (state ->> 'severity') STORED,
    message  text GENERATED ALWAYS AS (state ->> 'message') STORED
);
CREATE INDEX alerts_at ON alerts (at);

CREATE TABLE silences (
    id       text PRIMARY KEY,
    account  text,                           -- always null: a silence is of no single account
    at       bigint NOT NULL,                -- when it begins
    state    jsonb NOT NULL,
    until    bigint GENERATED ALWAYS AS ((state ->> 'until')::bigint) STORED
);
CREATE INDEX silences_until ON silences (until);

-- By live figures: a minute in which an account was not live has no row.
CREATE TABLE equity_samples (
    id         text PRIMARY KEY,             -- account:minute
    account    text NOT NULL,
    at         bigint NOT NULL,
    state      jsonb NOT NULL,
    equity_usd double precision GENERATED ALWAYS AS ((state ->> 'equity_usd')::double precision) STORED,
    high_usd   double precision GENERATED ALWAYS AS ((state ->> 'high_usd')::double precision) STORED,  -- within the minute
    equity     jsonb            GENERATED ALWAYS AS (state -> 'equity') STORED  -- by currency
);
CREATE INDEX equity_samples_account_at ON equity_samples (account, at);
