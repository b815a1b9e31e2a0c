//! The one place that prints: answers to standard output, everything else to standard error.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use super::error::CliError;

/// Paint for a word on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    Plain,
    /// A heading.
    Bold,
    /// Done, ready.
    Good,
    /// Under way, waiting.
    Busy,
    /// Failed.
    Bad,
    /// Less important.
    Dim,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Good => "32",
            Self::Busy => "33",
            Self::Bad => "31",
            Self::Dim => "2",
        }
    }
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    paint: Paint,
    right: bool,
}

impl Cell {
    /// Builds a cell with paint.
    pub fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self { text: text.into(), paint, right: false }
    }

    /// Builds a cell for a number: aligned to the right.
    pub fn number(text: impl Into<String>) -> Self {
        Self { text: text.into(), paint: Paint::Plain, right: true }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(text, Paint::Plain)
    }
}

/// The form of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Human,
    Json,
}

/// Where and how this process prints.
#[derive(Debug)]
pub struct Output {
    form: Form,
    colour_out: bool,
    colour_err: bool,
    progress: bool,
}

impl Output {
    /// Looks at this process' streams: colours and progress only on terminals, no colours with `NO_COLOR` or `TERM=dumb`.
    #[must_use]
    pub fn of_process(json: bool) -> Self {
        let wanted =
            std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::env::var_os("TERM").is_none_or(|v| v != "dumb");
        let err = std::io::stderr().is_terminal();
        Self {
            form: if json { Form::Json } else { Form::Human },
            colour_out: wanted && !json && std::io::stdout().is_terminal(),
            colour_err: wanted && !json && err,
            progress: err && !json,
        }
    }

    /// Says whether the answer is to be JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// Says whether progress may be drawn on standard error.
    #[must_use]
    pub const fn draws_progress(&self) -> bool {
        self.progress
    }

    /// Prints the answer: `value` as one line of JSON with `--json`, else what `human` prints.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn answer<T: Serialize + ?Sized>(
        &self,
        value: &T,
        human: impl FnOnce(&Self) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        if !self.is_json() {
            return human(self);
        }
        let text = serde_json::to_string(value).map_err(|e| CliError::failed(format!("cannot write the answer as JSON: {e}")))?;
        self.line(&text)
    }

    /// Prints one line to standard output.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn line(&self, text: &str) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .map_err(|e| CliError::failed(format!("cannot write to standard output: {e}")).code("output"))
    }

    /// Prints a remark to standard error; nothing with `--json`. A closed standard error is no failure.
    pub fn note(&self, text: &str) {
        if !self.is_json() {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Prints a warning to standard error; nothing with `--json`, where warnings are fields of the answer.
    pub fn warning(&self, text: &str) {
        self.note(&format!("{} {text}", paint(self.colour_err, Paint::Busy, "warning:")));
    }

    /// Prints a failure to standard error.
    pub fn failure(&self, failure: &CliError) {
        let mut err = std::io::stderr().lock();
        if self.is_json() {
            let text = serde_json::to_string(&failure.as_json()).unwrap_or_else(|_| failure.to_string());
            let _ = writeln!(err, "{text}");
            return;
        }
        let _ = writeln!(err, "{} {failure}", paint(self.colour_err, Paint::Bad, "error:"));
        if let Some(hint) = failure.next_step() {
            let _ = writeln!(err, "{} {hint}", paint(self.colour_err, Paint::Bold, "hint:"));
        }
    }

    /// Paints a text for standard output; the text itself where that is no terminal.
    #[must_use]
    pub fn paint(&self, as_what: Paint, text: &str) -> String {
        paint(self.colour_out, as_what, text)
    }

    /// Prints rows under a heading, columns aligned, indented by `indent` spaces.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn table(&self, indent: usize, heading: &[&str], rows: Vec<Vec<Cell>>) -> Result<(), CliError> {
        let mut all: Vec<Vec<Cell>> = vec![heading.iter().map(|&text| Cell::painted(text, Paint::Dim)).collect()];
        all.extend(rows);
        // A heading stands over its numbers.
        for column in 0..heading.len() {
            let right = all.get(1).and_then(|row| row.get(column)).is_some_and(|cell| cell.right);
            all[0][column].right = right;
        }
        for line in layout(self.colour_out, indent, &all) {
            self.line(&line)?;
        }
        Ok(())
    }
}

fn paint(colour: bool, as_what: Paint, text: &str) -> String {
    if colour && as_what != Paint::Plain { format!("\x1b[{}m{text}\x1b[0m", as_what.code()) } else { text.to_owned() }
}

fn layout(colour: bool, indent: usize, rows: &[Vec<Cell>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.text.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<Cell>| {
        let mut out = " ".repeat(indent);
        for (place, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[place].saturating_sub(cell.text.chars().count()));
            let text = paint(colour, cell.paint, &cell.text);
            let gap = if place == 0 { "" } else { "  " };
            let (before, after) = if cell.right { (pad, String::new()) } else { (String::new(), pad) };
            out.extend([gap, &before, &text, &after]);
        }
        out.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_words_left_and_numbers_right() {
        let rows = vec![vec![Cell::from("NAME"), Cell::number("SIZE")], vec![Cell::from("é"), Cell::number("7")]];
        assert_eq!(layout(false, 2, &rows), ["  NAME  SIZE", "  é        7"]);
    }

    #[test]
    fn colour_does_not_count_as_width() {
        let rows = vec![vec![Cell::painted("ab", Paint::Good), Cell::from("x")], vec![Cell::from("abc"), Cell::from("y")]];
        assert_eq!(layout(true, 0, &rows), ["\x1b[32mab\x1b[0m   x", "abc  y"]);
    }
}
