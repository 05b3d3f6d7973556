//! A terminal's screen, as far as relayd writes to one. Any other sequence is a failure: nothing else may reach a terminal.

use unicode_width::UnicodeWidthChar;

pub struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// Of a sequence that has not come whole.
    pending: Vec<u8>,
    pub is_alternate: bool,
    pub is_cursor_shown: bool,
    /// SGR parameters that were seen, for whether colours are used.
    pub styles: Vec<String>,
}

impl Screen {
    pub fn new(columns: usize, rows: usize) -> Self {
        Self {
            rows: vec![vec![' '; columns]; rows],
            row: 0,
            column: 0,
            pending: Vec::new(),
            is_alternate: false,
            is_cursor_shown: true,
            styles: Vec::new(),
        }
    }

    pub fn text(&self) -> String {
        let lines = self.rows.iter().map(|row| {
            let line: String = row.iter().filter(|char| **char != '\0').collect();
            line.trim_end().to_owned() + "\n"
        });
        lines.collect()
    }

    pub fn resize(&mut self, columns: usize, rows: usize) {
        self.rows = vec![vec![' '; columns]; rows];
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.pending);
        let mut rest = &bytes[..];
        while let Some(used) = self.take(rest) {
            rest = &rest[used..];
        }
        self.pending = rest.to_vec();
    }

    /// Takes one character or sequence, and says how long it was; `None` if it is not there as a whole.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        match bytes.first()? {
            0x1b => self.sequence(bytes),
            b'\r' => {
                self.column = 0;
                Some(1)
            }
            b'\n' => {
                self.row += 1;
                Some(1)
            }
            byte if byte.is_ascii_control() => {
                panic!("control character {byte:#x} reaches the terminal")
            }
            first => {
                let len = match first {
                    0..=0x7f => 1,
                    0xc0..=0xdf => 2,
                    0xe0..=0xef => 3,
                    _ => 4,
                };
                let text = std::str::from_utf8(bytes.get(..len)?).expect("output is UTF-8");
                self.put(text.chars().next().expect("one character"));
                Some(len)
            }
        }
    }

    fn sequence(&mut self, bytes: &[u8]) -> Option<usize> {
        assert_eq!(
            *bytes.get(1)?,
            b'[',
            "an escape sequence that is none of ours: {bytes:?}"
        );
        let body = &bytes[2..];
        let end = body.iter().position(|byte| (0x40..=0x7e).contains(byte))?;
        let parameters = std::str::from_utf8(&body[..end]).expect("ASCII");
        let number = |index: usize| {
            let number = parameters
                .split(';')
                .nth(index)
                .and_then(|text| text.parse().ok());
            number.unwrap_or(1_usize)
        };
        match (body[end], parameters) {
            (b'H', _) => (self.row, self.column) = (number(0) - 1, number(1) - 1),
            (b'J', "2" | "3") => self.rows.iter_mut().for_each(|row| row.fill(' ')),
            (b'm', _) => self.styles.push(parameters.to_owned()),
            (b'h', "?1049") => {
                self.is_alternate = true;
                self.rows.iter_mut().for_each(|row| row.fill(' '));
            }
            (b'l', "?1049") => self.is_alternate = false,
            (b'h', "?25") => self.is_cursor_shown = true,
            (b'l', "?25") => self.is_cursor_shown = false,
            (last, _) => panic!("CSI {parameters}{} is none of ours", char::from(last)),
        }
        Some(2 + end + 1)
    }

    fn put(&mut self, char: char) {
        let width = char.width().unwrap_or(0);
        // While a window shrinks, what was drawn for the larger one may still come.
        let Some(row) = self.rows.get_mut(self.row) else {
            return;
        };
        for (index, cell) in row.iter_mut().skip(self.column).take(width).enumerate() {
            *cell = if index == 0 { char } else { '\0' };
        }
        self.column += width;
    }
}
