"""The words of the project as plain data (pages, facts, decisions, results)."""
