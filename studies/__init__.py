"""What the book measures on trained networks: one measurement a file, ``measure(run, data, …)`` to a table.

``studies.yaml`` says what is measured on which runs and into which file of ``data/``; ``python -m studies`` does it.
"""
