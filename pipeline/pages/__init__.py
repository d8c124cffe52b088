"""The room of pages: HTML files that stand alone, which people open from disk or a bucket, and forward.

`page.py` renders a template of `templates/` with the style of all pages; jinja2 escapes every text. `charts.py`
measures charts, which templates draw as SVG. `thumbnails.py` makes small pictures of tracks. `save.py` writes a page.
A page has no script, asks for nothing, and forbids both (its Content-Security-Policy).
May use: tables, quality, standing, notebook, masks and below. Never imported by: worker, cluster, driver.
"""
