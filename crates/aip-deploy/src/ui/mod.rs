//! What the operator sees: colours, tables, questions, and a terminal or a pipe to see them on.

pub(crate) mod input;
pub(crate) mod prompt;
pub(crate) mod screen;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod time;

pub(crate) use input::PassphrasePrompt;
pub(crate) use prompt::PromptError;
pub(crate) use screen::Screen;
