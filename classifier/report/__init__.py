"""`pointsman classifier report`: one page that says how well the classifier does.

`command` reads what it is given, `labelled` and `windows` make one plain dict of it
with the numbers of `figures`, and `page` draws that dict. Nothing on the page is
computed while it is drawn, so `--json` and the page always agree.
"""
