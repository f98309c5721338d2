"""Imports of files: jobs in the database, and the process that carries them out."""
