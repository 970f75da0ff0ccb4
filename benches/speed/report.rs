//! The table of results: measure, goal, value, comparison and verdict.

/// Whether a goal is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is met.
    Met,
    /// It is missed.
    Missed,
    /// The peer is not installed, or there is no goal.
    Open,
}

impl Verdict {
    /// `Met` if `holds`, else `Missed`.
    pub fn of(holds: bool) -> Self {
        if holds { Self::Met } else { Self::Missed }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Open => "-",
        }
    }
}

/// One line of the table.
pub struct Row {
    /// The measure.
    pub measure: String,
    /// The goal.
    pub goal: String,
    /// The value.
    pub ours: String,
    /// The value of the bare server or the peer.
    pub against: String,
    /// Whether the goal is met.
    pub verdict: Verdict,
}

impl Row {
    /// Makes a row without a comparison.
    pub fn new(measure: impl Into<String>, goal: impl Into<String>, ours: impl Into<String>, verdict: Verdict) -> Self {
        Self { measure: measure.into(), goal: goal.into(), ours: ours.into(), against: String::new(), verdict }
    }

    /// The row as a line of Markdown.
    pub fn line(&self) -> String {
        let Self { measure, goal, ours, against, verdict } = self;
        format!("| {measure} | {goal} | {ours} | {against} | {} |", verdict.word())
    }

    /// Adds the comparison.
    pub fn against(mut self, against: impl Into<String>) -> Self {
        self.against = against.into();
        self
    }
}

/// Prints the lines as a Markdown table for `docs/measured.md`.
pub fn print(rows: &[Row]) {
    println!("\n| measure | goal | sessionwatch | against | verdict |\n| --- | --- | --- | --- | --- |");
    for row in rows {
        println!("{}", row.line());
    }
}

/// A number with commas between the thousands.
pub fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The percentile: the value that this share of the values does not exceed; 0 without values.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(index.saturating_sub(1)).or(sorted.last()).copied().unwrap_or(0.0)
}
