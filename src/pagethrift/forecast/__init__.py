"""What a migration would take, said before anything moves."""
