"""The warehouse's PostgreSQL: pool, bookkeeping schema, driver errors told once."""
