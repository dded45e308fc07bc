"""Results of migrations in files: a JSON file for each result, and an archive for a whole study."""
