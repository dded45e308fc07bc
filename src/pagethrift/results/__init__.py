"""Results of migrations in files: JSON as they are made, an archive of a whole study to keep."""
