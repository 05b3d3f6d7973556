//! Verdicts from facts, and how they are shown. What needs a server is in `tests/live`.

mod each;
mod shown;
mod targets;
mod verdicts;
