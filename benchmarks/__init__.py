"""How fast it is: paths between two namespaces, measured in turns in one run, as ratios to a bare veth pair.

``python -m benchmarks`` measures everything, ``--quick`` in a few seconds. Needs root. All traffic stays in
network namespaces made for the run.
"""
