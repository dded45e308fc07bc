"""The migration link of a lab: rate, delay, tunnels."""
