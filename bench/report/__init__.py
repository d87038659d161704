"""Reports: what benchmarks left behind as one HTML page, a Markdown summary, and the figures of the README.

``write.write_report`` is the way in. A kind of benchmark is a file in ``kinds/``: it turns a result into sentences, tables and
plots (``document``), which the page and the summary both show.
"""
