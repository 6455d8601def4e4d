# Short names for the commands in CONTRIBUTING.md. `just` is optional: each recipe is one command.

# Unit tests of the agent and its ledger; a part of a test's name selects some.
unit name="":
    cargo test --locked --lib {{name}}

# The end-to-end tests whose name contains this, for example `just e2e disassociation::`.
e2e name:
    tests/run --test it {{name}}

# The simulation of one seed, with its trace.
sim seed:
    OFFBOARD_SEED={{seed}} OFFBOARD_TRACE=1 tests/simulate

# Every generated file below docs/.
docs:
    docs/generate

# Everything that has to hold before a change is merged.
ci:
    .ci/run

# The documents as a book.
book:
    docs/book
