-- 008_incomplete.sql: who reads the summary learns what is missing from it.
--
-- summary_json() tells of each file whether a gap lies in its window, as the
-- view sluice.files does: its count may be too small, and stays so.  It is
-- looked up for the rows of the page alone.  The rest of the function is what
-- it was, and its header stands in 003.

CREATE OR REPLACE FUNCTION sluice.summary_json(p_customer text, p_from timestamptz,
    p_to timestamptz, p_limit integer, p_cursor text,
    p_pipeline text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_sort = off
SET enable_hashagg = off
SET enable_bitmapscan = off
SET jit = off
AS $$
DECLARE
    key         jsonb;
    at_window   timestamptz;
    at_customer text;
    at_sha256   text;
    at_pipeline text;
    base        text;
    files       json;
    seen        bigint;
    next        text;
BEGIN
    IF p_limit IS NULL OR p_limit NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'limit is not within 1 to 1000'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF p_cursor IS NOT NULL THEN
        BEGIN
            key := convert_from(decode(
                rpad(translate(p_cursor, '-_', '+/'),
                     (length(p_cursor) + 3) / 4 * 4, '='),
                'base64'), 'UTF8')::jsonb;
            at_window := to_timestamp((key ->> 0)::bigint / 1000.0);
            at_customer := key ->> 1;
            at_sha256 := key ->> 2;
            at_pipeline := key ->> 3;
        EXCEPTION WHEN data_exception THEN
            key := NULL;
        END;

        IF key IS NULL OR at_window IS NULL OR at_customer IS NULL
           OR at_sha256 IS NULL OR at_pipeline IS NULL
           OR at_customer <> p_customer OR at_pipeline <> p_pipeline
        THEN
            RAISE EXCEPTION 'cursor is not one of this listing'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END IF;

    SELECT rtrim(value, '/') INTO base
      FROM sluice.settings WHERE name = 'public_url';

    WITH page AS (
        SELECT s.window_start, s.customer, s.sha256, s.pipeline,
               (array_agg(s.id))[1] AS id,
               (array_agg(s.name ORDER BY s.first_seen, s.topic,
                                          s.partition))[1] AS name,
               (array_agg(s.type ORDER BY s.first_seen, s.topic,
                                          s.partition))[1] AS type,
               min(s.size) AS size,
               sum(s.count) AS count,
               min(s.first_seen) AS first_seen,
               bool_and(s.final) AS final
          FROM sluice.summary s
         WHERE (p_customer IS NULL OR s.customer = p_customer)
           AND (p_pipeline IS NULL OR s.pipeline = p_pipeline)
           AND (p_from IS NULL OR s.window_start >= p_from)
           AND (p_to IS NULL OR s.window_start < p_to)
           AND (p_cursor IS NULL
                OR (s.window_start <= at_window
                    AND (s.window_start, s.customer, s.sha256, s.pipeline)
                      < (at_window, at_customer, at_sha256, at_pipeline)))
         GROUP BY s.window_start, s.customer, s.sha256, s.pipeline
         ORDER BY s.window_start DESC, s.customer DESC, s.sha256 DESC,
                  s.pipeline DESC
         LIMIT p_limit + 1
    ), numbered AS (
        SELECT page.*, row_number() OVER (
                   ORDER BY window_start DESC, customer DESC, sha256 DESC,
                            pipeline DESC) AS n
          FROM page
    )
    SELECT json_agg(json_build_object(
               'window', to_char(window_start AT TIME ZONE 'UTC',
                                 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
               'time', to_char(first_seen AT TIME ZONE 'UTC',
                               'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
               'file', name,
               'type', type,
               'size', size,
               'count', count,
               'sha256', sha256,
               'customer', customer,
               'url', coalesce(base, '') || '/files/' || id,
               'final', final,
               'incomplete', EXISTS (
                   SELECT FROM sluice.gaps g
                    WHERE g.pipeline = numbered.pipeline
                      AND window_start
                          BETWEEN coalesce(g.first_window, '-infinity')
                              AND coalesce(g.last_window, 'infinity')))
               ORDER BY n) FILTER (WHERE n <= p_limit),
           count(*),
           max(translate(encode(convert_to(json_build_array(
                   (extract(epoch FROM window_start) * 1000)::bigint,
                   customer, sha256, pipeline)::text, 'UTF8'), 'base64'),
               E'+/=\n', '-_')) FILTER (WHERE n = p_limit)
      INTO files, seen, next
      FROM numbered;

    RETURN json_build_object(
        'files', coalesce(files, '[]'),
        'next', CASE WHEN seen > p_limit THEN next END);
END
$$;
