"""Reports: result files in, a page, a table or plots out; the same files give the same bytes."""
