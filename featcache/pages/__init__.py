"""HTML pages: charts as inline SVG, thumbnails, templates; the same charts as figures of matplotlib."""
