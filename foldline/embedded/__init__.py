"""Kafka and PostgreSQL on a bare machine, and the supervisor that runs the whole stack on them."""
