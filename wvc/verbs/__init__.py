"""What a user does that changes something: each a straight line of read, compute, write, record."""
