"""Claims checked against a group of runs: `paper` the paper's own, `one_class` those about single classes, `ours` what
this project asks. `compare`: one side less another; `verdicts`: what becomes of a claim; `text` writes it.
"""
