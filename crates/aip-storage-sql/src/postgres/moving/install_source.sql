-- The keys of rows that were written since the move began, for those who copy them. Keys alone: ids and hashes.
CREATE TABLE IF NOT EXISTS aip_move_changes (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation TEXT NOT NULL,
    key JSONB NOT NULL
);

-- Its arguments are the columns of the primary key.
CREATE OR REPLACE FUNCTION aip_move_note() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    old_key JSONB;
    new_key JSONB;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        SELECT jsonb_object_agg(column_name, to_jsonb(OLD) -> column_name) INTO old_key FROM unnest(TG_ARGV) AS column_name;
        INSERT INTO aip_move_changes (relation, key) VALUES (TG_TABLE_NAME, old_key);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT jsonb_object_agg(column_name, to_jsonb(NEW) -> column_name) INTO new_key FROM unnest(TG_ARGV) AS column_name;
        IF new_key IS DISTINCT FROM old_key THEN
            INSERT INTO aip_move_changes (relation, key) VALUES (TG_TABLE_NAME, new_key);
        END IF;
    END IF;
    RETURN NULL;
END
$$;
