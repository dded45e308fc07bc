"""When to hold a page, how to encode it, when to switch over."""
