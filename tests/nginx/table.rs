//! The comparison as a table: one row for each behaviour, with what both did.

use std::fmt::Write as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Equal,
    Better,
}

struct Row {
    what: String,
    nginx: String,
    relayd: String,
    verdict: Verdict,
}

#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    wrong: Vec<String>,
}

impl Table {
    /// Both must do the same.
    pub fn equal(&mut self, what: &str, nginx: &str, relayd: &str, wanted: &str) {
        self.row(what, (nginx, wanted), (relayd, wanted), Verdict::Equal);
    }

    /// Each must do what is expected of it: a pair of what it did and what it should have done.
    pub fn better(&mut self, what: &str, nginx: (&str, &str), relayd: (&str, &str)) {
        assert_ne!(nginx.1, relayd.1, "{what}: nothing is better");
        self.row(what, nginx, relayd, Verdict::Better);
    }

    fn row(&mut self, what: &str, nginx: (&str, &str), relayd: (&str, &str), verdict: Verdict) {
        for (who, (did, wanted)) in [("nginx", nginx), ("relayd", relayd)] {
            if did != wanted {
                self.wrong
                    .push(format!("{what}: {who} did `{did}`, expected `{wanted}`"));
            }
        }
        let (nginx, relayd) = (nginx.0.to_owned(), relayd.0.to_owned());
        self.rows.push(Row {
            what: what.to_owned(),
            nginx,
            relayd,
            verdict,
        });
    }

    /// Prints the table, then fails if a row was not as expected.
    pub fn finish(self) {
        let mut text = String::from(
            "| behaviour | nginx 1.22, as published | relayd | |\n| --- | --- | --- | --- |\n",
        );
        for row in &self.rows {
            let verdict = match row.verdict {
                Verdict::Equal => "equal",
                Verdict::Better => "better",
            };
            writeln!(
                text,
                "| {} | {} | {} | {verdict} |",
                row.what, row.nginx, row.relayd
            )
            .expect("a string");
        }
        println!("{text}");
        assert!(
            self.wrong.is_empty(),
            "{} of {} rows:\n{}",
            self.wrong.len(),
            self.rows.len(),
            self.wrong.join("\n")
        );
    }
}
