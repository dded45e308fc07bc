"""Floor 5: two hosts, guests, load and experiments on one machine."""
