//! Rates and quotas on a clock that is passed in.
