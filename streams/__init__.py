"""What travels: events, topics, identifiers, and the engines of the log. Imports no other room."""
