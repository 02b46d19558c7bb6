"""The grader: `pytest --solutions=DIR` checks the scripts in DIR from the outside.

plugin.py       the options of pytest
session.py      which scripts are checked, side by side, for a learner or for a class
requirement.py  what a requirement is, and what its verdict waits for
exercises/      the requirements of each exercise, sentence by sentence
trial.py        what a check may use: programs, clients and servers, all of them recorded
process.py      runs a solution, and finds the port on which it listens
recorder.py     clients and servers that remember what went over the wire
report.py       the table, the feedback, JSON and CSV
skeleton.py     what --start writes
environment/    a module that each solution loads at its start: see there
"""
