"""Two hosts, guests, load and experiments on one machine."""
