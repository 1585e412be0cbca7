-- What both databases of a move have until it is finished. One row: the move.
-- state: `preparing`, `copying` (from when the target is marked) and `moved` in the source, `receiving` and `live`
-- in the target.
-- fenced_until: in the source, until when nobody writes; in the target, until when servers that follow the
-- move hold their writes.
CREATE TABLE IF NOT EXISTS aip_move (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    fenced_until TIMESTAMPTZ
);

-- Refuses statements that write, but for those of the move itself. SQLSTATE AIP01.
CREATE OR REPLACE FUNCTION aip_move_refuse() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    marker aip_move;
BEGIN
    SELECT * INTO marker FROM aip_move;
    IF (marker.state IN ('moved', 'receiving') OR marker.fenced_until > clock_timestamp())
        AND current_setting('aip.move', true) IS DISTINCT FROM marker.id THEN
        RAISE EXCEPTION 'no writes: this database is part of a move to another server (`aip database move status`)'
            USING ERRCODE = 'AIP01';
    END IF;
    RETURN NULL;
END
$$;
