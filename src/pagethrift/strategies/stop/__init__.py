"""When to switch over: the stop rules and the prediction they share."""
