"""Reports: a page, tables or plots from result files; the same files give the same bytes."""
