"""Notebooks with other parameters, and grids of them (needs the extra ``notebooks``)."""
