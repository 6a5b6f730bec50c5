//! Where in the file a value stands: `rules[2].who.tokens[0]`.

use std::fmt;

/// One step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The value of this key of a mapping.
    Key(String),
    /// The item at this position of a list, counted from 0.
    Item(usize),
}

/// The way from the top of the file to a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(Vec<Step>);

impl Path {
    /// The top of the file.
    pub fn top() -> Self {
        Self::default()
    }

    /// The value of a key in the mapping at this path.
    pub fn key(&self, name: impl Into<String>) -> Self {
        self.step(Step::Key(name.into()))
    }

    /// The item at a position of the list at this path.
    pub fn item(&self, position: usize) -> Self {
        self.step(Step::Item(position))
    }

    /// The steps, from the top.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl FromIterator<Step> for Path {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(item) => write!(f, "[{item}]")?,
                Step::Key(name) => {
                    let dot = if position == 0 { "" } else { "." };
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                    if !name.is_empty() && name.chars().all(plain) {
                        write!(f, "{dot}{name}")?;
                    } else {
                        write!(f, "{dot}{name:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_people_write_it() {
        let path = Path::top().key("rules").item(2).key("who").key("a.b").item(0);
        assert_eq!(path.to_string(), "rules[2].who.\"a.b\"[0]");
        assert_eq!(Path::top().to_string(), "");
    }
}
