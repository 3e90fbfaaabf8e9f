-- Since when the stored fills and payments of an account are whole, one row an account: what lies behind `until` has to be asked of
-- the venue. Without `until` they are whole up to the last write.

CREATE TABLE coverage (
    id      text PRIMARY KEY,                -- the account
    account text NOT NULL,
    at      bigint NOT NULL,                 -- when it last changed
    state   jsonb NOT NULL,
    since   bigint GENERATED ALWAYS AS ((state ->> 'since')::bigint) STORED,
    until   bigint GENERATED ALWAYS AS ((state ->> 'until')::bigint) STORED
);
