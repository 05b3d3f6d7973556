//! Logs: text or JSON to standard output, with a level that can be changed while relayd runs.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub format: Format,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives (`info,relayd::proxy=debug`).
    pub level: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            format: Format::Text,
            level: "info".to_owned(),
        }
    }
}
