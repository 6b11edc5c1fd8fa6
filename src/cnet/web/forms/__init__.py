"""Forms for workloads, made from the models that the API itself checks requests with.

`kinds.form_of` describes the fields of a kind, `posted.read` makes a spec of what a browser sends
and tells at which field something is wrong, `snippets` writes the spec as curl, YAML and command.
Pure: no I/O, no clock.
"""
