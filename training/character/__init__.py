"""One's own character: from a description file to an avatar that the server finds."""
