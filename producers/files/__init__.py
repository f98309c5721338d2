"""Files of records as people have them: CSV and JSON into upserts, or into every problem of every row. Pure.

`survey` reads a file once: what it is, its columns, how many rows. `read` reads it again, and gives the rows a stretch at a
time.
"""

from producers.files.columns import TYPES, Column, ColumnType
from producers.files.first_pass import Survey, survey, surveyed
from producers.files.problems import BadFile, Problem, bad_file
from producers.files.second_pass import Checked, failed_footer, failed_header, read
from producers.files.source import Blocks, Inflater, inflated

__all__ = [
    "TYPES",
    "BadFile",
    "Blocks",
    "Checked",
    "Column",
    "ColumnType",
    "Inflater",
    "Problem",
    "Survey",
    "bad_file",
    "failed_footer",
    "failed_header",
    "inflated",
    "read",
    "survey",
    "surveyed",
]
