"""What travels: events, topics, identifiers, and the engines of the log. Imports nothing of the other rooms."""
