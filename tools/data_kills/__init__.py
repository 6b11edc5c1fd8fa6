"""Kills agents amid uploads, changes and deletions of data, and looks at what is left.

`python -m tools.data_kills --seed 4 --kills 200`.
"""
