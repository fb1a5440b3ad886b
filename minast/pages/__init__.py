"""Pages: reports in one HTML file each, which needs no network, no other file and no framework."""

from .builder import Column, Section, page, table
from .html import Html, tag
from .mistakes import players
from .record import run_record
from .run import HTML, JSON, load_record, run_page, write_report

FILES = (JSON, HTML)  # of a run

__all__ = ["FILES", "HTML", "JSON", "Column", "Html", "Section", "load_record", "page", "players"]
__all__ += ["run_page", "run_record", "table", "tag", "write_report"]
