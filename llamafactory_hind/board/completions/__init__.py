"""Looking at what models wrote, at any size: pure Python over the files of runs, without the Board and without a model.

`roots` knows which folders may be looked at. `index` reads the small columns of a run, newest first and a slice at a time; `query` picks
and sorts; `records` reads what a page shows; `overview`, `compare`, `search` and `export` build on them. `pictures` lets nothing but
re-encoded pixels out, and `render` makes the only HTML, with one `escape`. `page` puts them together for the tab and for `browse`.
"""
