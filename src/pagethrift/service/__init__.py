"""One service for a host: accepts for many migrations, and gives each a relay's process of its own."""
