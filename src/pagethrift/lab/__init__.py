"""Floor 6: two hosts, guests, load and experiments on one machine."""
