//! The question before a change: arrows move, letters filter, Enter answers; the default is no.

use console::{Key, Term};

use super::screen::Screen;
use super::style::{self, paint};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    Details,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptError {
    /// Ctrl-C.
    #[error("cancelled")]
    Cancelled,
    #[error("--yes must be passed in to proceed when running in non-interactive mode")]
    NotInteractive,
    #[error("the terminal cannot be read: {0}")]
    Terminal(#[source] std::io::Error),
}

/// The state of the list of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Select {
    options: Vec<Answer>,
    filter: String,
    focus: usize,
}

/// Outcome of a key press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyOutcome {
    Stay,
    Chosen(Answer),
    Cancelled,
}

impl Answer {
    fn label(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Details => "details",
        }
    }
}

impl Select {
    fn new(options: Vec<Answer>) -> Self {
        let focus = options
            .iter()
            .position(|option| *option == Answer::No)
            .unwrap_or(0);
        Self {
            options,
            filter: String::new(),
            focus,
        }
    }

    fn visible(&self) -> Vec<Answer> {
        let matches = |answer: &&Answer| answer.label().contains(&self.filter.to_lowercase());
        self.options.iter().filter(matches).copied().collect()
    }

    fn press(&mut self, key: &Key) -> KeyOutcome {
        let count = self.visible().len();
        match key {
            Key::ArrowUp if count > 0 => self.focus = (self.focus + count - 1) % count,
            Key::ArrowDown | Key::Tab if count > 0 => self.focus = (self.focus + 1) % count,
            Key::Enter => {
                return self
                    .visible()
                    .get(self.focus)
                    .map_or(KeyOutcome::Stay, |answer| KeyOutcome::Chosen(*answer));
            }
            Key::CtrlC | Key::Escape | Key::Char('\u{3}' | '\u{4}') => {
                return KeyOutcome::Cancelled;
            }
            Key::Backspace => {
                self.filter.pop();
                self.focus = 0;
            }
            Key::Char(letter) if !letter.is_control() => {
                self.filter.push(*letter);
                self.focus = 0;
            }
            _ => {}
        }
        KeyOutcome::Stay
    }

    fn lines(&self, question: &str) -> Vec<String> {
        let filter = if self.filter.is_empty() {
            String::new()
        } else {
            format!("{} ", self.filter)
        };
        let hint = paint(style::DIM, "[Use arrows to move, type to filter]");
        let mut lines = vec![format!(
            "{} {filter} {hint}",
            paint(style::PROMPT, question)
        )];
        lines.extend(self.visible().iter().enumerate().map(|(index, answer)| {
            if index == self.focus {
                paint(style::FOCUS, format!("> {}", answer.label()))
            } else {
                format!("  {}", answer.label())
            }
        }));
        lines
    }
}

/// Asks. `details` offers the third answer.
pub(crate) fn ask(screen: &Screen, question: &str, details: bool) -> Result<Answer, PromptError> {
    if !screen.can_choose() {
        return Err(PromptError::NotInteractive);
    }
    let mut options = vec![Answer::Yes, Answer::No];
    options.extend(details.then_some(Answer::Details));
    let mut select = Select::new(options);
    let terminal = Term::stdout();
    loop {
        screen.redraw(&select.lines(question));
        let key = terminal.read_key_raw().map_err(PromptError::Terminal)?;
        match select.press(&key) {
            KeyOutcome::Stay => {}
            KeyOutcome::Cancelled => {
                screen.clear_region();
                return Err(PromptError::Cancelled);
            }
            KeyOutcome::Chosen(answer) => {
                screen.clear_region();
                screen.line(format!(
                    "{} {}",
                    paint(style::PROMPT, question),
                    paint(style::FOCUS, answer.label())
                ));
                return Ok(answer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(keys: &[Key]) -> (Select, KeyOutcome) {
        let mut select = Select::new(vec![Answer::Yes, Answer::No, Answer::Details]);
        let mut last = KeyOutcome::Stay;
        for key in keys {
            last = select.press(key);
        }
        (select, last)
    }

    #[test]
    fn enter_alone_means_no() {
        assert_eq!(press(&[Key::Enter]).1, KeyOutcome::Chosen(Answer::No));
    }

    #[test]
    fn arrows_go_round() {
        assert_eq!(
            press(&[Key::ArrowUp, Key::Enter]).1,
            KeyOutcome::Chosen(Answer::Yes)
        );
        assert_eq!(
            press(&[Key::ArrowDown, Key::Enter]).1,
            KeyOutcome::Chosen(Answer::Details)
        );
        let twice = [Key::ArrowDown, Key::ArrowDown, Key::Enter];
        assert_eq!(press(&twice).1, KeyOutcome::Chosen(Answer::Yes));
    }

    #[test]
    fn letters_filter_and_nothing_is_chosen_when_nothing_is_left() {
        assert_eq!(
            press(&[Key::Char('y'), Key::Enter]).1,
            KeyOutcome::Chosen(Answer::Yes)
        );
        assert_eq!(press(&[Key::Char('x'), Key::Enter]).1, KeyOutcome::Stay);
        let back = [Key::Char('x'), Key::Backspace, Key::Char('d'), Key::Enter];
        assert_eq!(press(&back).1, KeyOutcome::Chosen(Answer::Details));
    }

    #[test]
    fn ctrl_c_cancels() {
        assert_eq!(press(&[Key::CtrlC]).1, KeyOutcome::Cancelled);
    }

    #[test]
    fn the_list_looks_as_the_recorded_terminal() {
        let (select, _) = press(&[]);
        let lines = select.lines("Do you want to perform this update?");
        assert_eq!(
            style::plain(&lines.join("\n")),
            "Do you want to perform this update?  [Use arrows to move, type to filter]\n  yes\n> no\n  details"
        );
    }
}
