"""A study of people: groups write opinions, rate candidates, see a consensus.

`flow` is what a participant does, `worker` makes the candidates, `web` shows
both in a browser. Nothing here is imported by the rest of the package.
"""
