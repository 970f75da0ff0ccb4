//! What was measured, beside what it is measured against and the goal, as one table.

/// Whether a goal is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Met,
    /// No.
    Missed,
    /// The other side is not installed here, or there is no goal for it.
    Open,
}

impl Verdict {
    /// `Met` where this holds.
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
    /// What was measured.
    pub measure: String,
    /// What it should be.
    pub goal: String,
    /// What it is.
    pub ours: String,
    /// What it is measured against.
    pub against: String,
    /// Whether it is as it should be.
    pub verdict: Verdict,
}

impl Row {
    /// A line without the other side.
    pub fn new(measure: impl Into<String>, goal: impl Into<String>, ours: impl Into<String>, verdict: Verdict) -> Self {
        Self { measure: measure.into(), goal: goal.into(), ours: ours.into(), against: String::new(), verdict }
    }

    /// As it stands in the table.
    pub fn line(&self) -> String {
        let Self { measure, goal, ours, against, verdict } = self;
        format!("| {measure} | {goal} | {ours} | {against} | {} |", verdict.word())
    }

    /// With the other side.
    pub fn against(mut self, against: impl Into<String>) -> Self {
        self.against = against.into();
        self
    }
}

/// Prints the lines as a Markdown table, so that they can be put into `docs/measured.md`
/// as they are.
pub fn print(rows: &[Row]) {
    println!("\n| measure | goal | sessionwatch | against | verdict |\n| --- | --- | --- | --- | --- |");
    for row in rows {
        println!("{}", row.line());
    }
}

/// A number with its thousands set apart.
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

/// The middle of what was measured.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value that this share of the measured ones does not exceed; 0 where there are none.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(index.saturating_sub(1)).or(sorted.last()).copied().unwrap_or(0.0)
}
