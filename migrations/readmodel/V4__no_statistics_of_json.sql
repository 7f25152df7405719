-- Nobody asks for rows by what is inside their JSON, so the planner needs to know nothing of it. ANALYZE would sort thirty
-- thousand documents for each of these columns, and autovacuum asks for that each minute while a table grows.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

ALTER TABLE orders
    ALTER COLUMN lines SET STATISTICS 0,
    ALTER COLUMN shipping_address SET STATISTICS 0,
    ALTER COLUMN rejection SET STATISTICS 0,
    ALTER COLUMN cancellation SET STATISTICS 0,
    ALTER COLUMN shipment SET STATISTICS 0;
ALTER TABLE order_events
    ALTER COLUMN data SET STATISTICS 0;
ALTER TABLE processes
    ALTER COLUMN orders SET STATISTICS 0,
    ALTER COLUMN inventory SET STATISTICS 0,
    ALTER COLUMN payments SET STATISTICS 0,
    ALTER COLUMN shipping SET STATISTICS 0;
