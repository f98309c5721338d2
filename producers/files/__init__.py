"""Files of records as people have them: CSV and JSON into upserts, or into every problem of every row. Pure."""
