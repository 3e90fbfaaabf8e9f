-- How much of a currency counts as collateral, per venue; and margin tiers that a venue states apart for cross and isolated
-- positions, or per account. `state` holds the whole record, as everywhere.

CREATE TABLE collateral (
    venue     text NOT NULL,
    env       text NOT NULL,
    ccy       text NOT NULL,
    state     jsonb NOT NULL,
    last_sync bigint NOT NULL,
    PRIMARY KEY (venue, env, ccy)
);

-- One table of brackets became a list of them: `margin_mode` and `account` in each say whose it is, null for all.
UPDATE contracts SET tiers = jsonb_build_array(tiers) WHERE jsonb_typeof(tiers) = 'object';
