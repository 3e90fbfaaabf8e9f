-- What questions about the past go by: orders to read records in, and what was realised, added up by the UTC day.

-- Lists of all accounts; those of some go by (account, at).
CREATE INDEX fills_at ON fills (at);
CREATE INDEX funding_at ON funding (at);
CREATE INDEX transfers_at ON transfers (at);
CREATE INDEX reconciliations_at ON reconciliations (at);
CREATE INDEX position_history_at ON position_history (at);
CREATE INDEX pnl_records_at ON pnl_records (at);
CREATE INDEX verifications_at ON verifications (at);
CREATE INDEX verifications_account_at ON verifications (account, at);
-- The last state of each position at a moment, position by position.
CREATE INDEX position_changes_last ON position_changes (account, position, at);
DROP INDEX position_changes_position_at;

-- What one record brought or cost. `realized_pnl` is of the price alone, in the currency that the contract of `symbol` settles in; the
-- others are in `ccy`: `settled` is profit that was settled without a fill. `unknown`: 1 where a fill's money is not known, which
-- then counts nowhere.
CREATE VIEW pnl_lines AS
    SELECT account, at, coalesce(symbol, '') AS symbol, coalesce(fee_ccy, '') AS ccy,
           CASE WHEN fee IS NULL THEN 0 ELSE coalesce(realized_pnl, 0) END AS realized_pnl,
           CASE WHEN realized_pnl IS NULL THEN 0 ELSE coalesce(fee, 0) END AS fees,
           0::numeric AS funding, 0::numeric AS settled, 0::numeric AS liquidation_fee, 1 AS records,
           CASE WHEN realized_pnl IS NULL OR fee IS NULL THEN 1 ELSE 0 END AS unknown
    FROM fills
    UNION ALL
    SELECT account, at, coalesce(symbol, ''), coalesce(ccy, ''), 0, 0, coalesce(amount, 0), 0, 0, 1, 0 FROM funding
    UNION ALL
    SELECT account, at, coalesce(state ->> 'symbol', ''), coalesce(ccy, ''), 0, 0, 0,
           CASE WHEN kind = 'settlement' THEN coalesce(amount, 0) ELSE 0 END,
           CASE WHEN kind = 'liquidation' THEN coalesce(amount, 0) ELSE 0 END, 1, 0
    FROM transfers WHERE kind IN ('settlement', 'liquidation');

CREATE TABLE pnl_days (
    account         text    NOT NULL,
    user_name       text,
    day             bigint  NOT NULL,        -- when it began (ms)
    symbol          text    NOT NULL,        -- "": of none
    ccy             text    NOT NULL,        -- "": not known
    realized_pnl    numeric NOT NULL,
    fees            numeric NOT NULL,
    funding         numeric NOT NULL,
    settled         numeric NOT NULL,
    liquidation_fee numeric NOT NULL,
    records         bigint  NOT NULL,
    unknown         bigint  NOT NULL,
    PRIMARY KEY (account, day, symbol, ccy)
);

-- Whoever writes, changes or deletes a record moves its day's sums by what the record's lines changed, in the same transaction:
-- NUMERIC adds exactly, so that sums are those of a recount. `lines` of a table: as in the view. A transaction that is taken back
-- sets `perpwire.looks`: nobody reads its sums, and of a row that is moved thousands of times it would have to keep every version.
CREATE FUNCTION pnl_days_move() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lines text := CASE TG_TABLE_NAME
        WHEN 'fills' THEN $l$
            coalesce(symbol, ''), coalesce(fee_ccy, ''), CASE WHEN fee IS NULL THEN 0 ELSE coalesce(realized_pnl, 0) END,
            CASE WHEN realized_pnl IS NULL THEN 0 ELSE coalesce(fee, 0) END, 0::numeric, 0::numeric, 0::numeric,
            CASE WHEN realized_pnl IS NULL OR fee IS NULL THEN 1 ELSE 0 END, true $l$
        WHEN 'funding' THEN $l$
            coalesce(symbol, ''), coalesce(ccy, ''), 0::numeric, 0::numeric, coalesce(amount, 0), 0::numeric, 0::numeric, 0, true $l$
        ELSE $l$
            coalesce(state ->> 'symbol', ''), coalesce(ccy, ''), 0::numeric, 0::numeric, 0::numeric,
            CASE WHEN kind = 'settlement' THEN coalesce(amount, 0) ELSE 0 END,
            CASE WHEN kind = 'liquidation' THEN coalesce(amount, 0) ELSE 0 END, 0, kind IN ('settlement', 'liquidation') $l$
        END;
    parts text[] := '{}';
BEGIN
    IF current_setting('perpwire.looks', true) = 'yes' THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM told) THEN
            RETURN NULL;
        END IF;
        parts := parts || ('SELECT 1 AS sign, account, user_name, at / 86400000 * 86400000,' || lines || 'FROM told');
    END IF;
    IF TG_OP <> 'INSERT' THEN
        parts := parts || ('SELECT -1 AS sign, account, user_name, at / 86400000 * 86400000,' || lines || 'FROM gone');
    END IF;
    EXECUTE
        'INSERT INTO pnl_days AS d (account, user_name, day, symbol, ccy, realized_pnl, fees, funding, settled, liquidation_fee, '
        '                           records, unknown) '
        'SELECT account, max(user_name), day, symbol, ccy, sum(sign * price), sum(sign * fees), sum(sign * funding), '
        '       sum(sign * settled), sum(sign * liquidation), sum(sign), sum(sign * unknown) '
        'FROM (' || array_to_string(parts, ' UNION ALL ') || ') AS moved (sign, account, user_name, day, symbol, ccy, price, fees, '
        '      funding, settled, liquidation, unknown, counts) '
        'WHERE counts GROUP BY account, day, symbol, ccy '
        'HAVING sum(sign) <> 0 OR sum(sign * unknown) <> 0 OR sum(sign * price) <> 0 OR sum(sign * fees) <> 0 '
        '    OR sum(sign * funding) <> 0 OR sum(sign * settled) <> 0 OR sum(sign * liquidation) <> 0 '
        'ORDER BY account, day, symbol, ccy '
        'ON CONFLICT (account, day, symbol, ccy) DO UPDATE SET '
        '    user_name = coalesce(excluded.user_name, d.user_name), realized_pnl = d.realized_pnl + excluded.realized_pnl, '
        '    fees = d.fees + excluded.fees, funding = d.funding + excluded.funding, settled = d.settled + excluded.settled, '
        '    liquidation_fee = d.liquidation_fee + excluded.liquidation_fee, records = d.records + excluded.records, '
        '    unknown = d.unknown + excluded.unknown';
    RETURN NULL;
END
$$;

CREATE TRIGGER fills_come AFTER INSERT ON fills
    REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION pnl_days_move();
CREATE TRIGGER fills_change AFTER UPDATE ON fills
    REFERENCING NEW TABLE AS told OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION pnl_days_move();
CREATE TRIGGER fills_go AFTER DELETE ON fills
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION pnl_days_move();
CREATE TRIGGER funding_comes AFTER INSERT ON funding
    REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION pnl_days_move();
CREATE TRIGGER funding_changes AFTER UPDATE ON funding
    REFERENCING NEW TABLE AS told OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION pnl_days_move();
CREATE TRIGGER funding_goes AFTER DELETE ON funding
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION pnl_days_move();
CREATE TRIGGER transfers_come AFTER INSERT ON transfers
    REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION pnl_days_move();
CREATE TRIGGER transfers_change AFTER UPDATE ON transfers
    REFERENCING NEW TABLE AS told OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION pnl_days_move();
CREATE TRIGGER transfers_go AFTER DELETE ON transfers
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION pnl_days_move();

-- The same by day and currency alone, for questions that name no symbol: worked out anew of the account's day whenever that moves, or
-- what a contract settles in becomes known. `ccy` "": of contracts that are not known.
CREATE TABLE pnl_totals (
    account         text    NOT NULL,
    user_name       text,
    day             bigint  NOT NULL,
    ccy             text    NOT NULL,
    realized_pnl    numeric NOT NULL,
    fees            numeric NOT NULL,
    funding         numeric NOT NULL,
    liquidation_fee numeric NOT NULL,
    records         bigint  NOT NULL,
    unknown         bigint  NOT NULL,
    PRIMARY KEY (account, day, ccy)
);

CREATE FUNCTION pnl_totals_recount(accounts_ text[], days_ bigint[]) RETURNS void LANGUAGE sql AS $$
    DELETE FROM pnl_totals WHERE (account, day) IN (SELECT * FROM unnest(accounts_, days_));
    INSERT INTO pnl_totals (account, user_name, day, ccy, realized_pnl, fees, funding, liquidation_fee, records, unknown)
    SELECT d.account, max(d.user_name), d.day, part.ccy, sum(part.price), sum(part.fees), sum(part.funding), sum(part.liquidation_fee),
           sum(part.records), sum(part.unknown)
    FROM (SELECT DISTINCT * FROM unnest(accounts_, days_)) AS w (account, day)
    JOIN pnl_days AS d ON d.account = w.account AND d.day = w.day
    LEFT JOIN accounts AS a ON a.name = d.account
    LEFT JOIN contracts AS c ON c.venue = a.venue AND c.env = a.env AND c.symbol = d.symbol
    CROSS JOIN LATERAL (VALUES
        (coalesce(c.settle, ''), d.realized_pnl, 0, 0, 0, 0, CASE WHEN c.settle IS NULL THEN 0 ELSE d.unknown END),
        (d.ccy, d.settled, d.fees, d.funding, d.liquidation_fee, d.records - d.unknown, 0)
    ) AS part (ccy, price, fees, funding, liquidation_fee, records, unknown)
    GROUP BY d.account, d.day, part.ccy;
$$;

CREATE FUNCTION pnl_totals_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'pnl_days' THEN
        PERFORM pnl_totals_recount(array_agg(account), array_agg(day)) FROM (SELECT DISTINCT account, day FROM told) AS moved;
    ELSIF TG_TABLE_NAME = 'accounts' THEN
        PERFORM pnl_totals_recount(array_agg(d.account), array_agg(d.day)) FROM (
            SELECT DISTINCT d.account, d.day FROM told JOIN gone USING (name) JOIN pnl_days AS d ON d.account = name
            WHERE (told.venue, told.env) IS DISTINCT FROM (gone.venue, gone.env)
        ) AS d;
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM pnl_totals_recount(array_agg(d.account), array_agg(d.day)) FROM (
            SELECT DISTINCT d.account, d.day FROM told JOIN pnl_days AS d ON d.symbol = told.symbol
        ) AS d;
    ELSE
        PERFORM pnl_totals_recount(array_agg(d.account), array_agg(d.day)) FROM (
            SELECT DISTINCT d.account, d.day FROM told JOIN gone USING (venue, env, symbol) JOIN pnl_days AS d USING (symbol)
            WHERE told.settle IS DISTINCT FROM gone.settle
        ) AS d;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER pnl_days_come AFTER INSERT ON pnl_days
    REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION pnl_totals_follow();
CREATE TRIGGER pnl_days_change AFTER UPDATE ON pnl_days
    REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION pnl_totals_follow();
CREATE TRIGGER accounts_change AFTER UPDATE ON accounts
    REFERENCING NEW TABLE AS told OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION pnl_totals_follow();
CREATE TRIGGER contracts_come AFTER INSERT ON contracts
    REFERENCING NEW TABLE AS told FOR EACH STATEMENT EXECUTE FUNCTION pnl_totals_follow();
CREATE TRIGGER contracts_change AFTER UPDATE ON contracts
    REFERENCING NEW TABLE AS told OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION pnl_totals_follow();

INSERT INTO pnl_days (account, day, symbol, ccy, realized_pnl, fees, funding, settled, liquidation_fee, records, unknown)
SELECT account, at / 86400000 * 86400000 AS day, symbol, ccy, sum(realized_pnl), sum(fees), sum(funding), sum(settled),
       sum(liquidation_fee), sum(records), sum(unknown)
FROM pnl_lines GROUP BY account, day, symbol, ccy;
