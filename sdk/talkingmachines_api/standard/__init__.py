"""Messages of others, under names of our own."""
