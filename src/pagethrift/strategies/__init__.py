"""Floor 2: when to hold a page, which methods it may travel by, when to switch over."""
