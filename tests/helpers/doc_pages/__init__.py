"""Running what the documentation says: blocks of its pages, one after another, in a folder of small photos.

How a page's writer makes its blocks run
----------------------------------------
All blocks of a page run from the top to the bottom, in one folder and (Python) in one namespace. The folder holds what
`doc_pages.readers` says: photos for every page, a cache and a classifier of them for all but the first pages.

* A ``bash`` block (or one without a language that begins with ``featcache``) runs in ``bash -euo pipefail``; every
  ``featcache`` in it runs in the test's own process, with a backbone that sees 64×64 pixels. ``pip install`` does
  nothing; that its extras exist is tested.
* ``console`` and ``text`` blocks with lines ``$ COMMAND`` run those, and what stands below each is compared with what
  it printed. A command whose shown output has a line ``error: …`` must fail, any other must succeed.
* A ``python`` block is executed; of a ``pycon`` block the results are compared, too.
* ``<!-- output -->`` right above a ``text`` fence: the block before it printed this. ``<!-- output of: COMMAND -->``:
  the command, given elsewhere on the page or else run now, printed this. ``<!-- error of: COMMAND -->``: so it fails.
* ``<!-- run: COMMAND -->`` right above a fence: what the reader does by hand before the block, such as filling in a
  table, as a shell would.
* ``<!-- not run: REASON -->`` right above a fence: nothing of the block runs. ``<!-- not run: `BEGINNING` REASON -->``:
  all its lines run, or are compared, but those that begin so. ``tests/docs/test_blocks.py`` counts both.
* Other blocks (``text`` without ``$``, ``json`` …) are only read.

Outputs are compared in shape (`doc_pages.shapes`): every line that is shown was printed, in that order, with other
numbers, units, paths and class names; more lines may have been printed. ``…`` stands for any text.
"""
