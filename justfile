# Short names for the commands in CONTRIBUTING.md. `just` is optional: each recipe is one command.

# Unit tests of the library; a part of a test's name selects some.
unit name="":
    cargo test --locked --lib {{name}}

# One end-to-end test file, for example `just e2e main_job`.
e2e name:
    tests/run --test {{name}}

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
